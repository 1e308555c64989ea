"""What the adapters of other libraries' checkpoints share."""

from typing import ClassVar, Generic, Protocol, TypeVar

from mmsearch.encode.torch_ import Lazy
from mmsearch.records import Modality, Space


class Checkpoint(Protocol):
    """Files on disk or on the hub, whose parts are loaded on first use, each once."""

    space: Lazy[Space]

    def fetch(self) -> None:
        """Look for the files, and download them, before anything that takes long."""


C = TypeVar("C", bound=Checkpoint)


class CheckpointEncoder(Generic[C]):
    """An encoder of one modality of a checkpoint.

    Args:
        checkpoint: Shared with the encoders of the other modalities.
    """

    modality: ClassVar[Modality]

    def __init__(self, checkpoint: C) -> None:
        self._checkpoint = checkpoint

    def fetch(self) -> None:
        """Look for the checkpoint's files, and download what is missing."""
        self._checkpoint.fetch()

    @property
    def space(self) -> Space:
        """The checkpoint's space."""
        return self._checkpoint.space()

    def fits(self, text: str) -> bool:
        """Whether all of a text counts; other modalities have none."""
        return True
