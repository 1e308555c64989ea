"""Finding damage, and repairing it from what is sound."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that is not what was written.

    Attributes:
        where: The file or record.
        what: What is wrong with it.
    """

    where: str
    what: str


def verify_index(folder: Path) -> list[Damage]:
    """Check everything."""
    raise NotImplementedError


def repair_index(folder: Path) -> list[str]:
    """Repair."""
    raise NotImplementedError
