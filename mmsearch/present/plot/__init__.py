"""The embeddings of an index in two dimensions: as a picture, and as a page to look around in."""
