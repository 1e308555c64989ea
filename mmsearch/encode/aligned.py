"""Aligned models: frozen encoders of a base model, with trained heads or a re-ranker behind them.

A folder that ``mmsearch train align`` has written: ``model.json`` says which base model and what
stands behind it, ``heads.safetensors`` or ``reranker.safetensors`` holds the arrays.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from mmsearch.config import InputLimits
from mmsearch.encode import rerank
from mmsearch.encode.arrays import load_groups, save_groups
from mmsearch.encode.base import Encoder, MappingEncoder, Model
from mmsearch.encode.heads import Head, HeadKind, unit
from mmsearch.encode.rerank import PairKind
from mmsearch.encode.seeing import Box, no_map
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Modality, Space

KIND = "aligned"
ARRAYS = "heads.safetensors"


class AlignedEncoder:
    """Embeds with the base model's encoders of a modality, and maps the result with a head.

    Where the base has several spaces for the modality, their embeddings stand side by side.
    """

    def __init__(self, bases: Sequence[Encoder], head: Head, space: Space) -> None:
        self._bases, self._head, self.space = bases, head, space

    @property
    def modality(self) -> Modality:
        """What it embeds."""
        return self._bases[0].modality

    @cached_property
    def limits(self) -> InputLimits:
        """What suits all encoders of the base."""
        return InputLimits.shared([base.limits for base in self._bases])

    @property
    def batch_size(self) -> int:
        """The smallest of the base's."""
        return min(base.batch_size for base in self._bases)

    def fits(self, text: str) -> bool:
        """Whether every encoder of the base embeds the whole text."""
        return all(base.fits(text) for base in self._bases)

    def prepare(self, decoded: Any) -> tuple[Any, ...]:
        """What each encoder of the base takes."""
        return tuple(base.prepare(decoded) for base in self._bases)

    def encode(self, prepared: Sequence[tuple[Any, ...]]) -> FloatArray:
        """Embed a batch: (n, dim) float32; rows of unit length unless the head is folded."""
        if not prepared:
            return np.zeros((0, self.space.dim), np.float32)
        columns = zip(*prepared, strict=True)
        found = [unit(b.encode(column)) for b, column in zip(self._bases, columns, strict=True)]
        return self._head(np.concatenate(found, axis=1))

    def maps(self, prepared: Sequence[tuple[Any, ...]]) -> list[FloatArray]:
        """Embed each place that the base tells apart: (rows, columns, dim) float32 each.

        Raises:
            ModelError: The base has no map, or several.
        """
        found = self._mapping.maps([only for (only,) in prepared])
        return [
            self._head(places.reshape(-1, places.shape[2])).reshape(*places.shape[:2], -1)
            for places in found
        ]

    def seen(self, size: tuple[int, int]) -> Box:
        """Where on a picture of some width and height the base's map lies."""
        return self._mapping.seen(size)

    @property
    def _mapping(self) -> MappingEncoder:
        """The one encoder of the base."""
        if len(self._bases) > 1 or not isinstance(self._bases[0], MappingEncoder):
            raise no_map(self.space.checkpoint)
        return self._bases[0]


def load(folder: Path, settings: Mapping[str, Any], base: Model) -> Model:
    """Return the model of a folder.

    Args:
        folder: Holds the arrays.
        settings: What its ``model.json`` says.
        base: The base model that it names.

    Raises:
        ModelError: The arrays cannot be read, or belong to other weights of the base.
    """
    if settings["base_sha256"] != weights(base):
        raise ModelError(
            f"{folder}: was trained on weights of {base.name!r} that are not those installed; "
            "train it again"
        )
    if "heads" in settings:
        return Model(str(folder), _headed(folder, settings, base))
    return Model(str(folder), base.encoders, rerank.read(folder, settings["reranker"]))


def _headed(folder: Path, settings: Mapping[str, Any], base: Model) -> tuple[Encoder, ...]:
    """The encoders of a folder with heads: of the modalities that have one."""
    heads = read_heads(folder, settings)
    space = Space(
        name=KIND,
        dim=int(settings["dim"]),
        normalized=not any("fold" in head.arrays for head in heads.values()),
        checkpoint=str(folder),
        sha256=_sha256(folder, base),
    )
    return tuple(
        AlignedEncoder([base.encoder(name) for name in base.fields(modality)], head, space)
        for modality, head in heads.items()
    )


def read_heads(folder: Path, settings: Mapping[str, Any]) -> dict[Modality, Head]:
    """The heads of a folder by modality."""
    arrays = load_groups(folder / ARRAYS, settings["heads"], "the heads")
    return {
        Modality(name): Head(HeadKind(kind), arrays[name])
        for name, kind in settings["heads"].items()
    }


def weights(base: Model) -> list[str]:
    """The hashes of all spaces of a model."""
    return [space.sha256 for space in base.spaces]


def write_heads(
    folder: Path, base: Model, heads: Mapping[Modality, Head], dim: int
) -> dict[str, Any]:
    """Write heads into a folder; returns what ``model.json`` is to say."""
    save_groups(folder / ARRAYS, {str(modality): head.arrays for modality, head in heads.items()})
    kinds = {str(modality): head.kind.value for modality, head in heads.items()}
    return {**_about(base), "dim": dim, "heads": kinds}


def reranking(base: Model, kind: str, depth: int, pairings: Sequence[PairKind]) -> dict[str, Any]:
    """What ``model.json`` is to say of a re-ranker."""
    found = [[one.space, one.left.value, one.right.value] for one in pairings]
    return {**_about(base), "reranker": {"kind": kind, "depth": depth, "pairings": found}}


def _about(base: Model) -> dict[str, Any]:
    return {"kind": KIND, "base": base.name, "base_sha256": weights(base)}


def _sha256(folder: Path, base: Model) -> str:
    digest = hashlib.sha256((folder / ARRAYS).read_bytes())
    for sha256 in weights(base):
        digest.update(sha256.encode())
    return digest.hexdigest()
