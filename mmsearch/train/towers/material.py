"""What towers are trained on: pairs, cleaned and decoded, with a vocabulary of their texts."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from mmsearch.config import InputLimits
from mmsearch.decode import decode_part
from mmsearch.errors import MMSearchError, TrainingError
from mmsearch.records import Failure, Modality, Part
from mmsearch.train.pairs import Pairing, Pairs
from mmsearch.train.splits import Split
from mmsearch.train.towers.clean import clean_text, near_copies
from mmsearch.train.towers.inputs import Inputs, Pictures, Sounds, Words
from mmsearch.train.towers.options import Options
from mmsearch.train.towers.prepare import Prepared, Recipe, failure, prepare, recipe
from mmsearch.train.towers.words import Bags, train_vocabulary
from mmsearch.whole import written_whole


@dataclass(frozen=True)
class Material:
    """What towers are trained on.

    Attributes:
        parts: By modality.
        inputs: The parts as towers take them.
        pairings: The pairs whose parts could both be used, without copies of what is held out.
        tokenizer: The vocabulary of the texts that are trained on; ``None`` without texts.
        left_out: How many pairs hold such copies.
        failures: Rows and parts that could not be used.
    """

    parts: Mapping[Modality, Sequence[Part]]
    inputs: Mapping[Modality, Inputs]
    pairings: Sequence[Pairing]
    tokenizer: Tokenizer | None
    left_out: int
    failures: Sequence[Failure]

    def of(self, split: Split) -> list[Pairing]:
        """The pairs of one split."""
        return [pairing.of(split) for pairing in self.pairings]


def gather(pairs: Pairs, options: Options, home: Path, tell: Callable[[str], None]) -> Material:
    """Decode and clean what pairs hold.

    Args:
        pairs: As they were read.
        options: What the towers take.
        home: Where the files are kept.
        tell: Called with lines that say how it goes.

    Raises:
        TrainingError: Nothing is left to train on.
    """
    kinds: list[Modality] = [kind for kind in pairs.parts if kind is not Modality.TEXT]
    recipes = {kind: recipe(kind, options.side) for kind in kinds}
    media = {kind: prepare(pairs.parts[kind], recipes[kind], home, tell) for kind in kinds}
    texts = [_text(part) for part in pairs.parts.get(Modality.TEXT, ())]
    usable = {kind: media[kind].usable for kind in kinds}
    usable[Modality.TEXT] = np.array([bool(text) for text in texts])
    readable = [pairing.readable(usable) for pairing in pairs.pairings]
    kept = _without_copies(readable, media, recipes)
    inputs = _media_inputs(media, options)
    tokenizer = None
    if texts:
        tokenizer = _vocabulary(
            [texts[at] for at in _members(Modality.TEXT, kept, trained=True)], home
        )
        inputs[Modality.TEXT] = Words(Bags(tokenizer, texts))
    failures = [
        failure(pairs.parts[kind][at], recipes[kind])
        for kind in kinds
        for at in np.flatnonzero(~usable[kind]).tolist()
    ]
    failures += [
        Failure(part.path, "no text can be read from it")
        for part, text in zip(pairs.parts.get(Modality.TEXT, ()), texts, strict=True)
        if part.path and not text
    ]
    left_out = sum(map(_pairs, readable)) - sum(map(_pairs, kept))
    return Material(pairs.parts, inputs, kept, tokenizer, left_out, [*pairs.failures, *failures])


def _pairs(pairing: Pairing) -> int:
    return len(pairing.rows)


def _text(part: Part) -> str:
    """What a text part says, or the first passage of a text file; nothing if it is unreadable."""
    if part.text is not None:
        return part.text
    try:
        _, passage = next(decode_part(part, InputLimits(), lambda text: True))
    except MMSearchError:
        return ""
    return clean_text(str(passage))


def _without_copies(
    pairings: Sequence[Pairing],
    media: Mapping[Modality, Prepared],
    recipes: Mapping[Modality, Recipe],
) -> list[Pairing]:
    """The pairs without those to train on that hold a copy of a held-out picture or sound."""
    copies = {}
    for kind, prepared in media.items():
        trained, held = (_members(kind, pairings, t) for t in (True, False))
        marks = prepared.marks
        copied = near_copies(marks[trained], marks[held], recipes[kind].tolerance)
        copies[kind] = trained[copied]
    return [_leave_out(pairing, copies) for pairing in pairings]


def _members(kind: Modality, pairings: Sequence[Pairing], trained: bool) -> NDArray[np.int64]:
    """The parts of a modality in the pairs that are trained on, or in those that are held out."""
    found = [np.zeros(0, np.int64)]
    for pairing in pairings:
        chosen = (pairing.splits == Split.TRAIN.value) == trained
        for side, modality in enumerate((pairing.left, pairing.right)):
            if modality is kind:
                found.append(pairing.rows[chosen, side])
    return np.unique(np.concatenate(found))


def _leave_out(pairing: Pairing, copies: Mapping[Modality, NDArray[np.int64]]) -> Pairing:
    """The pairs without those to train on that hold one of some parts."""
    copied = np.zeros(len(pairing.rows), bool)
    for side, modality in enumerate((pairing.left, pairing.right)):
        copied |= np.isin(pairing.rows[:, side], copies.get(modality, []))
    kept = pairing.take(np.flatnonzero(~copied | (pairing.splits != Split.TRAIN.value)))
    for split, least in ((Split.TRAIN, 2), (Split.VALIDATION, 1), (Split.TEST, 1)):
        left = len(kept.of(split).rows)
        if left < least:
            raise TrainingError(
                f"{left} {kept.name} pairs are left for {split}: of {len(pairing.rows):,} that can "
                f"be read, {len(pairing.rows) - len(kept.rows):,} hold copies of held-out files"
            )
    return kept


def _media_inputs(media: Mapping[Modality, Prepared], options: Options) -> dict[Modality, Inputs]:
    found: dict[Modality, Inputs] = {}
    if Modality.IMAGE in media:
        found[Modality.IMAGE] = Pictures(media[Modality.IMAGE], options.side)
    if Modality.AUDIO in media:
        found[Modality.AUDIO] = Sounds(media[Modality.AUDIO], options.sound)
    return found


def _vocabulary(texts: Sequence[str], home: Path) -> Tokenizer:
    """Learned from the texts that are trained on, or read where an earlier run has learned it."""
    digest = sha256("\n".join(texts).encode()).hexdigest()[:16]
    path = home / f"vocabulary-{digest}.json"
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as temporary:
            train_vocabulary(texts).save(str(temporary))
    return Tokenizer.from_file(str(path))
