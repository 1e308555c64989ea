"""What is on disk: the only home of LMDB and FAISS."""
