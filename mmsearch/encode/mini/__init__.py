"""The embedded model: one space for text, image and audio, shipped in the package."""

from mmsearch.encode.base import Model
from mmsearch.encode.mini.audio import AudioEncoder
from mmsearch.encode.mini.image import ImageEncoder
from mmsearch.encode.mini.text import TextEncoder

__all__ = ["AudioEncoder", "ImageEncoder", "TextEncoder", "load"]


def load() -> Model:
    """The model ``mini``: one space, ``mini-1``, three encoders; imports no torch."""
    return Model("mini", (TextEncoder(), ImageEncoder(), AudioEncoder()))
