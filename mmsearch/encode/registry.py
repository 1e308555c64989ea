"""Models by name, as ``--model`` takes them and as an index stores them."""

import os
import re
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from mmsearch.encode import clap, folder, gemma, open_clip_, pe_av
from mmsearch.encode.base import Model
from mmsearch.encode.compute import Compute, compute_of
from mmsearch.encode.presets import PRESETS
from mmsearch.errors import ModelError

NAMES = (
    "open_clip:ARCH/TAG",
    "open_clip:ARCH/TAG=FILE",
    "open_clip:local-dir:PATH",
    "clap:OWNER/NAME",
    "clap:PATH",
    "pe_av:OWNER/NAME",
    "pe_av:PATH",
    "gemma:OWNER/NAME",
    "gemma:PATH",
    "FOLDER",
)
"""The forms of other models' names; two of them joined with ``+`` are a pair.

A folder is a model that ``mmsearch train`` has written.
"""

_SPACES = {"clap": "acoustic", "pe_av": "acoustic"}
"""Kinds of models whose spaces have one name."""

_PLUS = re.compile(rf"\+(?=(?:{'|'.join(PRESETS)})(?:\+|$)|open_clip:|clap:|pe_av:|gemma:)")
"""The plus signs that join names; others belong to a path."""


def load_model(
    name: str,
    device: str | None = None,
    precision: str | None = None,
    compile: bool = False,
) -> Model:
    """Return the model of a name; weights are loaded when they are first needed.

    A pair embeds a text in both of its spaces: ``open_clip:ViT-B-32/laion2b_s34b_b79k`` finds
    pictures and ``clap:laion/clap-htsat-unfused`` sounds.

    Args:
        name: ``mini`` or another of ``PRESETS``, ``open_clip:ARCH/TAG``,
            ``open_clip:local-dir:PATH``, ``clap:OWNER/NAME``, ``clap:PATH``, the same with
            ``pe_av:`` and ``gemma:``, or several of them joined with ``+``; or a folder that
            ``mmsearch train`` has written.
        device: A torch device such as ``cpu`` or ``cuda:1``; ``None`` for the GPU if there is
            one, else the CPU.
        precision: ``fp32`` or ``bf16``; ``None`` for bf16 on a GPU, fp32 elsewhere.
        compile: Whether ``torch.compile`` makes its networks faster, a minute or more for each.

    Returns:
        The model, under a name that loads it from any working directory.

    Raises:
        UsageError: There is no such precision.
        ModelError: The name is unknown, or two of its parts would share a space.
    """
    return _load(name, compute_of(device, precision, compile))


def _load(name: str, compute: Compute) -> Model:
    if name not in PRESETS and folder.is_trained(name):
        return folder.load(name, compute, lambda base: _load(base, compute))
    names = split(name)
    kinds = [part.partition(":")[0] for part in names]
    if len({_SPACES.get(kind, kind) for kind in kinds}) < len(kinds):
        raise ModelError(f"model {name!r} has two parts that would share a space")
    parts = [_load_part(kind, part, compute) for kind, part in zip(kinds, names, strict=True)]
    encoders = chain.from_iterable(part.encoders for part in parts)
    return Model("+".join(part.name for part in parts), tuple(encoders))


def split(name: str) -> list[str]:
    """The parts of a model's name, in full where they are short names."""
    parts: list[str] = []
    for part in _PLUS.split(name):
        if parts and part in PRESETS and os.path.exists(_path(f"{parts[-1]}+{part}")):
            parts[-1] += f"+{part}"  # a folder such as clap:models/a+clip
        else:
            parts += PRESETS[part].model.split("+") if part in PRESETS else [part]
    return parts


def lost_path(name: str) -> str | None:
    """The first absolute path in a model's name that is not there any more."""
    parts = [name] if os.path.isabs(name) else split(name)
    paths = [path for path in map(_path, parts) if path.is_absolute()]
    return next((str(path) for path in paths if not os.path.exists(path)), None)


def _path(part: str) -> Path:
    """What a part of a name names, if it is a path."""
    return Path(re.sub(r"^(open_clip:(local-dir:|[^=]*=)|\w+:)", "", part)).expanduser()


def _load_part(kind: str, name: str, compute: Compute) -> Model:
    if name == "mini":
        from mmsearch.encode import mini

        return mini.load(compute)
    if kind == "open_clip":
        return open_clip_.load(name.removeprefix("open_clip:"), compute)
    if kind == "clap":
        return clap.load(name.removeprefix("clap:"), compute)
    if kind == "gemma":
        return gemma.load(name.removeprefix("gemma:"), compute)
    if kind == "pe_av":
        return pe_av.load(name.removeprefix("pe_av:"), compute)
    near = get_close_matches(name.lower(), PRESETS, n=1)
    meant = f" (did you mean {near[0]!r}?)" if near else ""
    raise ModelError(
        f"there is no model {name!r}{meant}; there are {', '.join((*PRESETS, *NAMES))}, and pairs "
        "joined with '+'"
    )
