"""Scorers that were fitted to an index: arrays in an immutable file, named by the manifest."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.numpy import load, save

from mmsearch.records import FloatArray
from mmsearch.store.files import CheckedFile, write_file
from mmsearch.store.manifest import ScorerInfo
from mmsearch.store.once import computed_once
from mmsearch.store.writer import Writer


class StoredScorer:
    """A scorer of an index; immutable, so threads share it.

    Attributes:
        info: What the manifest says of it.
    """

    def __init__(self, folder: Path, info: ScorerInfo) -> None:
        """Open its file.

        Raises:
            FileNotFoundError: A writer has replaced it since the manifest was read.
            DamagedIndexError: It is not what was written.
        """
        self.info = info
        self._file = CheckedFile(folder, info.file)

    @computed_once
    def arrays(self) -> Mapping[str, FloatArray]:
        """Its weights by name, float32, checked."""
        return load(self._file.read(0, self.info.file.payload_bytes).tobytes())


def keep_scorer(
    writer: Writer, name: str, directions: Sequence[str], arrays: Mapping[str, FloatArray]
) -> None:
    """Commit a scorer in place of the one that had its name.

    Args:
        writer: The index's writer.
        name: What a search calls it.
        directions: What it was trained for, as ``text->image``.
        arrays: Its weights, float32.
    """
    file = write_file(writer.folder, writer.new_name("scorer"), [save(dict(arrays))])
    others = (scorer for scorer in writer.manifest.scorers if scorer.name != name)
    writer.replace_scorers([*others, ScorerInfo(name, file, tuple(directions))])
