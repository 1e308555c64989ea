"""From decoded chunks to embeddings: the only home of torch besides ``train``."""

from mmsearch.encode.base import AskingEncoder, Encoder, LocalEncoder, MappingEncoder, Model, asking
from mmsearch.encode.registry import load_model

__all__ = [
    "AskingEncoder",
    "Encoder",
    "LocalEncoder",
    "MappingEncoder",
    "Model",
    "asking",
    "load_model",
]
