"""Limits and defaults, each with its reason; and where an index lives."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmsearch.errors import UsageError, one_line

INDEX_VARIABLE = "MMSEARCH_INDEX"
INDEXES = "indexes"
DEFAULT_INDEX = "default"


def cache_folder() -> Path:
    """Return where things are kept that can be made again: ``$XDG_CACHE_HOME/mmsearch``."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(home, "mmsearch")


def locate_index(name: str | None = None) -> Path:
    """Return the folder of an index, which need not exist.

    A bare name is a folder in ``indexes/``, looked for from the working directory upwards as git
    looks for its repository, and below the working directory when there is none. Anything with a
    separator in it is a path.

    Args:
        name: A name or path; by default what MMSEARCH_INDEX says, else ``default``.
    """
    name = name or os.environ.get(INDEX_VARIABLE) or DEFAULT_INDEX
    if os.sep in name or name in (".", ".."):
        return Path(name).expanduser()
    here = Path.cwd()
    homes = (folder / INDEXES for folder in (here, *here.parents))
    home = next((folder for folder in homes if folder.is_dir()), here / INDEXES)
    return home / name


def parse_size(size: str | int) -> int:
    """Return a size in bytes: a number of them, or with a unit, such as 2GB (10⁹) or 2GiB (2³⁰).

    Raises:
        UsageError: It is no size, or nothing.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([KMGT])(I?))?B?", str(size).strip().upper())
    power = " KMGT".index(found[2] or " ") if found else 0
    size_bytes = int(float(found[1]) * (1024 if found[3] else 1000) ** power) if found else 0
    if not size_bytes:
        raise UsageError(f"memory '{one_line(str(size))}': give a size, such as 2GB or 512MiB")
    return size_bytes


@dataclass(frozen=True, slots=True)
class InputLimits:
    """The longest input that an encoder takes in one embedding.

    Attributes:
        text_chars: Characters of a passage; the encoder's ``fits`` has the last word.
        window_s: Seconds of a sound.
        hop_s: Seconds between the starts of two windows.
        image_side: Pixels of the shorter side down to which a picture may be shrunk when it is
            decoded; ``None`` for not at all. Twice what the encoder resizes to is safe.
    """

    text_chars: int = 1000
    window_s: float = 10.0
    hop_s: float = 5.0
    image_side: int | None = None

    @classmethod
    def shared(cls, every: Sequence["InputLimits"]) -> "InputLimits":
        """The limits that suit several encoders of one modality."""
        sides = [limits.image_side for limits in every]
        return cls(
            text_chars=min(limits.text_chars for limits in every),
            window_s=min(limits.window_s for limits in every),
            hop_s=min(limits.hop_s for limits in every),
            image_side=None if None in sides else max(side for side in sides if side),
        )


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What a decoder refuses, so that one file cannot take all memory.

    Attributes:
        image_pixels: 200 megapixels are 600 MB of RGB; the largest cameras stay below.
        sound_s: A day; windows are read one by one, so this bounds time, not memory.
        text_bytes: The largest text file that is read.
        sample_rate_hz: A window of 10 s at this rate is 40 MB; recorders of bats stay below.
    """

    image_pixels: int = 200_000_000
    sound_s: float = 86_400.0
    text_bytes: int = 64 * 1024 * 1024
    sample_rate_hz: int = 1_000_000
