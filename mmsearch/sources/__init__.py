"""Where items come from: files, folders and manifests."""

from mmsearch.sources.find import can_hold_items, find_items, find_rows
from mmsearch.sources.suffixes import (
    AUDIO_SUFFIXES,
    IMAGE_SUFFIXES,
    MANIFEST_SUFFIXES,
    TEXT_SUFFIXES,
    TRACK_SUFFIXES,
    VIDEO_SUFFIXES,
    is_video,
    modalities_of,
)
from mmsearch.sources.walk import Found, Ignored

__all__ = [
    "AUDIO_SUFFIXES",
    "IMAGE_SUFFIXES",
    "MANIFEST_SUFFIXES",
    "TEXT_SUFFIXES",
    "TRACK_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Found",
    "Ignored",
    "can_hold_items",
    "find_items",
    "find_rows",
    "is_video",
    "modalities_of",
]
