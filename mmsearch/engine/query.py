"""What a person asks: texts, pictures, sounds, or several of them together."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

from PIL.Image import Image

from mmsearch.errors import UsageError
from mmsearch.records import FloatArray, Modality, Sound

ImageLike: TypeAlias = str | os.PathLike[str] | Image
SoundLike: TypeAlias = str | os.PathLike[str] | Sound
Exclusions: TypeAlias = str | Sequence[str] | Mapping[str, float]
EXCLUSION_WEIGHT = 0.5
"""What a text that is not wanted counts: of 0.25 to 2, the best for things on photos without other
things, with `mini-2` (`benchmarks/composed.py`)."""


class Term(NamedTuple):
    """One thing that is asked for, or asked away.

    Attributes:
        modality: What it is given in.
        values: The ways to say it; their embeddings are averaged.
        weight: What it counts; negative to be kept away from.
    """

    modality: Modality
    values: Sequence[object]
    weight: float


@dataclass(frozen=True)
class Query:
    """A query of one or several modalities.

    Attributes:
        text: Words.
        image: A picture, a path or an RGB picture of Pillow's; or several.
        audio: A sound, a path or samples; or several.
        templates: Sentences with ``{}`` where the words go; what they all say is averaged (Radford
            et al. 2021, section 3.1.4). The words alone by default.
        vectors: By space (dim,) float32 of unit length, embedded elsewhere.
        exclude: What is not wanted: a text, several, or texts with what each counts (0.5).
        weights: By modality what its part of the query counts, 1 by default.
    """

    text: str | None = None
    image: ImageLike | Sequence[ImageLike] | None = None
    audio: SoundLike | Sequence[SoundLike] | None = None
    templates: tuple[str, ...] = ()
    vectors: Mapping[str, FloatArray] = field(default_factory=dict)
    exclude: Exclusions = ()
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if wrong := [template for template in self.templates if "{}" not in template]:
            raise UsageError(f"template {wrong[0]!r}: needs {{}} where the words go")
        if self.text is not None and not self.text.strip():
            raise UsageError("the query text is empty; say what to look for")
        if not all(text.strip() for text in self.excluded):
            raise UsageError("a text to exclude is empty; say what is not wanted")
        if not self.inputs and not self.vectors:
            raise UsageError("an empty query; give a text, an image, a sound or a vector")
        if empty := [name for name, values in self.inputs.items() if not values]:
            raise UsageError(f"{empty[0]} is an empty list; give one, or leave it out")
        for weight in (*self.weights.values(), *self.excluded.values()):
            if not 0 < weight < float("inf"):
                raise UsageError(f"weight {weight}: give a number above 0")
        if unknown := [name for name in self.weights if name not in self.inputs]:
            raise UsageError(f"weight of {unknown[0]}: the query has no {unknown[0]}")

    @cached_property
    def excluded(self) -> Mapping[str, float]:
        """What is not wanted, and what each counts."""
        if isinstance(self.exclude, Mapping):
            return self.exclude
        texts = [self.exclude] if isinstance(self.exclude, str) else self.exclude
        return dict.fromkeys(texts, EXCLUSION_WEIGHT)

    @cached_property
    def is_composed(self) -> bool:
        """Whether it is more than one thing that is asked for."""
        return len(self.terms) + len(self.vectors) > 1

    @cached_property
    def inputs(self) -> Mapping[Modality, Sequence[object]]:
        """What is asked in each modality."""
        asked: Mapping[Modality, object] = {
            Modality.TEXT: self.text,
            Modality.IMAGE: self.image,
            Modality.AUDIO: self.audio,
        }
        return {m: _several(value) for m, value in asked.items() if value is not None}

    @cached_property
    def terms(self) -> Sequence[Term]:
        """What is embedded, apart from the vectors."""
        wanted = [
            Term(
                modality,
                self._said(value) if modality is Modality.TEXT else [value],
                self.weights.get(modality, 1.0) / len(values),
            )
            for modality, values in self.inputs.items()
            for value in values
        ]
        unwanted = [Term(Modality.TEXT, self._said(t), -w) for t, w in self.excluded.items()]
        return [*wanted, *unwanted]

    def _said(self, text: object) -> Sequence[object]:
        """Return a text in each template."""
        return [template.replace("{}", str(text)) for template in self.templates or ("{}",)]


def _several(value: object) -> Sequence[object]:
    """Return one value, or several, as several."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else [value]


def sentences(templates: str | Sequence[str]) -> tuple[str, ...]:
    """One template or several."""
    return (templates,) if isinstance(templates, str) else tuple(templates)
