"""From decoded chunks to embeddings: the only home of torch besides ``train``."""
