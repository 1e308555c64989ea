"""From a query's embeddings to candidates with exact scores."""
