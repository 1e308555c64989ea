"""Which file names mmsearch takes for texts, pictures, sounds, videos and manifests.

The tables are written out, so that a text query imports no decoder; the tests compare them with
what the installed libraries register.
"""

import os
from typing import Final

from mmsearch.records import Modality

TEXT_SUFFIXES: Final = frozenset({".md", ".txt"})

IMAGE_SUFFIXES: Final = frozenset(
    """
    .apng .avif .avifs .blp .bmp .bw .cur .dcx .dds .dib .flc .fli .ftc .ftu .gbr .gif .icb .icns
    .ico .j2c .j2k .jfif .jp2 .jpc .jpe .jpeg .jpf .jpg .jpx .msp .pbm .pcd .pcx .pfm .pgm .png
    .pnm .ppm .psd .pxr .qoi .ras .rgb .rgba .sgi .tga .tif .tiff .vda .vst .webp .xbm .xpm
    """.split()
)
"""What Pillow decodes by itself, whole pictures only: see ``decode.image.FORMATS``."""

AUDIO_SUFFIXES: Final = frozenset(
    """
    .8svx .aif .aifc .aiff .au .avr .caf .flac .htk .ircam .mp1 .mp2 .mp3 .nist .oga .ogg .opus .paf
    .pvf .rf64 .sds .sf .snd .sph .svx .voc .w64 .wav .wave .wve .xi
    """.split()
)
"""What libsndfile opens by its content; not headerless samples, MATLAB files or resource forks."""

TRACK_SUFFIXES: Final = frozenset(".aac .ac3 .amr .ape .m4a .m4b .mka .wma .wv".split())
"""Sounds that FFmpeg opens and libsndfile does not."""

VIDEO_SUFFIXES: Final = frozenset(
    """
    .3g2 .3gp .asf .avi .f4v .flv .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .mxf .ogv .vob .webm
    .wmv
    """.split()
)
"""What FFmpeg opens and cameras, phones and editors write; not ``.ts``, mostly TypeScript."""

MANIFEST_SUFFIXES: Final = frozenset({".csv", ".jsonl", ".ndjson", ".tsv"})

_MODALITIES: Final = {
    **dict.fromkeys(TEXT_SUFFIXES, (Modality.TEXT,)),
    **dict.fromkeys(IMAGE_SUFFIXES, (Modality.IMAGE,)),
    **dict.fromkeys(AUDIO_SUFFIXES | TRACK_SUFFIXES, (Modality.AUDIO,)),
    **dict.fromkeys(VIDEO_SUFFIXES, (Modality.IMAGE, Modality.AUDIO)),
}


def suffix_of(path: str | os.PathLike[str]) -> str:
    """The suffix of a file name in lower case, with its dot; empty if it has none."""
    return os.path.splitext(os.fspath(path))[1].lower()


def modalities_of(path: str | os.PathLike[str]) -> tuple[Modality, ...]:
    """What a file holds, by its suffix in any case; nothing for a type that is not indexed."""
    return _MODALITIES.get(suffix_of(path), ())


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a video, by its suffix."""
    return suffix_of(path) in VIDEO_SUFFIXES


def has_track(path: str | os.PathLike[str]) -> bool:
    """Whether FFmpeg decodes a file's sound, and not libsndfile."""
    return suffix_of(path) in TRACK_SUFFIXES | VIDEO_SUFFIXES


def supported_suffixes() -> str:
    """The suffixes that can be indexed, for people: the common ones first."""
    common = ".txt .md .jpg .png .gif .webp .tiff .wav .mp3 .flac .ogg .m4a .mp4 .mov .mkv"
    return f"{common}, and {len(_MODALITIES) - len(common.split())} others"
