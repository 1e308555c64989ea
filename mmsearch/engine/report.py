"""What an `add` did, counted and with its reasons."""

from collections import Counter
from dataclasses import dataclass, field

from mmsearch.records import Failure


@dataclass(slots=True)
class Report:
    """What happened to everything that was found.

    Attributes:
        added: New items.
        updated: Items whose contents, columns or parts changed.
        moved: Items found again under another name, not encoded again.
        unchanged: Items that were up to date.
        removed: Items whose source vanished, removed because of ``prune``.
        reused: How many of the added and updated took over vectors of equal contents.
        failures: What could not be indexed, wholly or in part, and why.
        ignored: Files of types that are not indexed, counted by suffix.
        vanished: Sources of items that are gone and still in the index.
        missing: Items of which `reencode` cannot encode all that they had; while there are any,
            the index keeps its model.
        interrupted: Whether Ctrl-C ended the run; what was finished is kept.
        seconds: Wall time.
    """

    added: int = 0
    updated: int = 0
    moved: int = 0
    unchanged: int = 0
    removed: int = 0
    reused: int = 0
    failures: list[Failure] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    vanished: list[str] = field(default_factory=list)
    missing: int = 0
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def indexed(self) -> int:
        """Items written by this run."""
        return self.added + self.updated + self.moved
