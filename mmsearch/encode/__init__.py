"""From decoded chunks to embeddings: the only home of torch besides ``train``."""

from mmsearch.encode.base import Encoder, LocalEncoder, Model
from mmsearch.encode.registry import load_model

__all__ = ["Encoder", "LocalEncoder", "Model", "load_model"]
