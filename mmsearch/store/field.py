"""All vectors of one field at one commit: opened segments, looked up by chunk id."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import DamagedIndexError
from mmsearch.records import FloatArray, Modality
from mmsearch.store.ann import AnnIndex
from mmsearch.store.codes import Codes
from mmsearch.store.codes_on_device import can_hold, held_bytes
from mmsearch.store.device import fits
from mmsearch.store.exact import inner_products
from mmsearch.store.files import CheckedFile, FileInfo
from mmsearch.store.manifest import FieldInfo
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.nearness import Nearness, load_bank, read_bank
from mmsearch.store.on_device import OnDevice
from mmsearch.store.once import computed_once
from mmsearch.store.runs import Run, Runs, hold_runs, load_runs, map_runs, unmoved
from mmsearch.store.segment import Segment

if TYPE_CHECKING:
    import torch


class Field:
    """The vectors of a field; immutable, so threads share it.

    Attributes:
        info: What the manifest says of it.
        segments: Opened.
        ids: (rows,) int64 chunk ids, ascending.
        nearness: By the modality of queries, how near the rows are to what those usually are.
    """

    def __init__(
        self,
        folder: Path,
        info: FieldInfo,
        previous: "Field | None" = None,
        device: "torch.device | None" = None,
        *,
        map_codes: bool = False,
    ) -> None:
        """Open the segments, those of ``previous`` that are still part of the field again.

        Args:
            folder: The index folder.
            info: What the manifest says of the field.
            previous: An earlier state of it.
            device: Where searches compute, what has room there, if not in FAISS.
            map_codes: Whether codes are searched in their files, not in memory.

        Raises:
            FileNotFoundError: A writer has replaced one since the manifest was read.
            DamagedIndexError: One is not what was written.
        """
        self.info = info
        self._folder = folder
        self._device = device
        self._map_codes = map_codes
        opened = {s.info.vectors: s for s in previous.segments} if previous else {}
        self.segments: list[Segment] = [
            opened.get(segment.vectors) or Segment(folder, segment, info.dim, device)
            for segment in info.segments
        ]
        coded = {codes.info: codes for codes in previous._codes} if previous else {}
        self._codes: list[Codes] = [
            coded.get(s.codes) or Codes(folder, s.codes) for s in info.segments if s.codes
        ]
        self._codebook = CheckedFile(folder, info.codebook) if info.codebook else None
        self.nearness: Mapping[Modality, Nearness] = {
            bank.asked: Nearness([CheckedFile(folder, s.nearness[at]) for s in info.segments])
            for at, bank in enumerate(info.banks)
        }
        self._banks = {bank.asked: _opened(folder, bank.vectors) for bank in info.banks}
        self._starts = np.cumsum([0, *(segment.rows for segment in self.segments)])
        self.ids: NDArray[np.int64] = np.concatenate(
            [np.empty(0, np.int64), *(segment.ids for segment in self.segments)]
        )
        self._checked = np.zeros(self.rows, dtype=bool)
        self._known = self._known_runs(previous)

    @property
    def rows(self) -> int:
        """Vectors, those of deleted items included."""
        return len(self.ids)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The item id of each row, (rows,) int64."""
        return self.ids >> CHUNK_BITS

    def bank(self, asked: Modality) -> FloatArray:
        """Return the queries that stand for what is asked in a modality, (queries, dim) float32.

        Raises:
            DamagedIndexError: They are missing, or not what was written.
        """
        (bank,) = (bank for bank in self.info.banks if bank.asked is asked)
        file = self._banks[asked]
        return load_bank(self._folder, bank) if file is None else read_bank(file, bank)

    def find(self, chunk_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of those chunk ids that the field has; ids ascend with rows."""
        rows = np.searchsorted(self.ids, chunk_ids)
        within = rows < self.rows
        rows, chunk_ids = rows[within], chunk_ids[within]
        found: NDArray[np.int64] = rows[self.ids[rows] == chunk_ids]
        return found

    def gather(self, rows: NDArray[np.int64]) -> FloatArray:
        """Return the vectors of some rows as (n, dim) float32, checked against their hashes."""
        order = np.argsort(rows)
        vectors = np.empty((len(rows), self.info.dim), np.float32)
        vectors[order] = self._halves(rows[order])
        return vectors

    def inner_products(self, rows: NDArray[np.int64], query: FloatArray) -> FloatArray:
        """Return the exact scores of some rows, (n,) float32, checked against their hashes."""
        order = np.argsort(rows)
        scores = np.empty(len(rows), np.float32)
        scores[order] = inner_products(self._halves(rows[order]), query)
        return scores

    def _halves(self, rows: NDArray[np.int64]) -> NDArray[np.float16]:
        """Return the vectors of some rows, ascending, as they are on disk, checked."""
        self._check(rows)
        halves = np.empty((len(rows), self.info.dim), np.float16)
        for segment, at, local in self._by_segment(rows):
            segment.take(local, halves[at])
        return halves

    def _check(self, rows: NDArray[np.int64]) -> None:
        """Check rows that have not been checked, ascending."""
        unchecked = rows[~self._checked[rows]]
        if len(unchecked):
            for segment, _, local in self._by_segment(unchecked):
                segment.check(local)
            self._checked[unchecked] = True

    def _by_segment(
        self, rows: NDArray[np.int64]
    ) -> Iterator[tuple[Segment, slice, NDArray[np.int64]]]:
        """Yield each segment that has some of these rows, ascending: which, and their numbers."""
        ends = np.searchsorted(rows, self._starts).tolist()
        spans = zip(self.segments, self._starts.tolist(), ends, ends[1:], strict=False)
        for segment, start, first, last in spans:
            if first < last:
                yield segment, slice(first, last), rows[first:last] - start

    def blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """Stream (chunk ids, float16 vectors) in the order of rows, checked."""
        for segment in self.segments:
            yield from segment.blocks()

    @computed_once
    def matrix(self) -> FloatArray:
        """All vectors, (rows, dim) float32: for fields small enough to be searched exactly."""
        matrix = np.empty((self.rows, self.info.dim), np.float32)
        start = 0
        for _, vectors in self.blocks():
            matrix[start : start + len(vectors)] = vectors
            start += len(vectors)
        return matrix

    @computed_once
    def longest(self) -> float:
        """The length of the longest vector of the matrix."""
        return float(np.sqrt(np.vecdot(self.matrix, self.matrix).max(initial=0)))

    @computed_once
    def on_device(self) -> OnDevice | None:
        """All vectors on the device; None without one, and where they have no room on it.

        A field that is searched exactly anyway stays where it is.
        """
        if self._device is None or self._codebook is None:
            return None
        held = [segment for segment in self.segments if "on_device" in vars(segment)]
        missing = self.rows - sum(segment.rows for segment in held)
        if not fits(2 * self.info.dim * missing, self._device):
            return None
        import torch

        try:
            return OnDevice([segment.on_device for segment in self.segments])
        except torch.OutOfMemoryError:  # others use the device, too
            return None

    @computed_once
    def ann(self) -> Runs | None:
        """The codes of all rows, or None where the field is searched exactly."""
        if self._codebook is None:
            return None
        known, self._known = self._known, ()
        codebook = read_all(self._codebook)
        if self._device is not None and self._codes_fit(self._device, known):
            import torch

            with suppress(torch.OutOfMemoryError):  # others use the device, too
                return hold_runs(known, codebook, self._codes, self._device)
        runs = map_runs if self._map_codes else load_runs
        return runs(known, codebook, self._codes)

    def _codes_fit(self, device: "torch.device", known: Sequence[Run]) -> bool:
        """Whether a device can search the codes, and has room for those that it has not yet."""
        held = {run.index.file for run in known}
        missing = sum(held_bytes(codes) for codes in self._codes if codes not in held)
        return can_hold(self.info.recipe) and fits(missing, device)

    def with_codes(self, info: FieldInfo) -> "Field":
        """Return the same vectors under other codes.

        Args:
            info: The field, but for its codes.
        """
        return Field(self._folder, info, self, map_codes=self._map_codes)

    def _known_runs(self, before: "Field | None") -> tuple[Run, ...]:
        """Return what another state of the field has loaded of this one's first rows, or mapped."""
        if before is None or before.info.codebook != self.info.codebook:
            return ()
        loaded: Runs | None = vars(before).get("ann")
        runs = loaded.runs if loaded else before._known
        return runs if self._map_codes else unmoved(runs, before.ids, self.ids)


def read_all(file: CheckedFile) -> NDArray[np.uint8]:
    """Return a file's whole payload, checked."""
    return file.read(0, file.info.payload_bytes)


def load_codebook(folder: Path, info: FileInfo) -> AnnIndex:
    """Load a trained, empty index."""
    return AnnIndex(read_all(CheckedFile(folder, info)))


def _opened(folder: Path, info: FileInfo) -> CheckedFile | None:
    """Return a file that few searches need; None where it is missing or damaged."""
    try:
        return CheckedFile(folder, info)
    except (FileNotFoundError, DamagedIndexError):
        return None
