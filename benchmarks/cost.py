"""What an index of n vectors costs, by formulas: the table of docs/indexing.md.

Run: ``python benchmarks/cost.py``; it measures nothing. Bytes of records are those that
``benchmarks/ann.py`` and ``benchmarks/vectors.py`` have measured.
"""

from dataclasses import dataclass

from mmsearch.search.effort import FIRST_DEPTH, lists_to_probe
from mmsearch.store.ann import FILLED_BY_GRAPH
from mmsearch.store.plan import EXACT_ROWS, MARK_BYTES
from mmsearch.store.recipes import choose_recipe, code_sizes, form_of, nlist_of, training_rows

DIM = 512
SIZES = (10_000, 1_000_000, 100_000_000, 1_000_000_000)
RECORD_BYTES = 872
"""LMDB and catalog for a row without columns: 1,977 bytes measured, less 1,105 for its vector."""
CAPTION_BYTES = 597
"""What a caption of ten words adds: 2,574 bytes measured, less those 1,977."""
ID_BYTES = 8
COMPARED_BY_QUERY, COMPARED_BY_ROW = 1_900, 2_100
"""Centroids that a graph of 32,768 or more leads to, as ``benchmarks/coarse.py`` has counted."""
LIST_ROUNDS = 4
PQ_ROUNDS, PQ_ROWS, CENTROIDS = 25, 4_096, 16
"""FAISS's own for the product quantiser, at 4 bits."""
ROTATIONS, ROTATION_ROWS = 10, 32_768
"""Rounds of OPQ; each turns the rows once, and decomposes a matrix."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What an index of some rows costs.

    Attributes:
        rows: How many.
        recipe: How they are searched.
        nlist: Inverted lists; none where all rows are looked at.
        by_graph: Whether a graph finds them.
        code_bytes: Of a row's code.
        training: Rows that the codebook is trained on.
    """

    rows: int
    recipe: str
    nlist: int
    by_graph: bool
    code_bytes: int
    training: int

    @classmethod
    def of(cls, rows: int) -> "Cost":
        """Return the cost of so many rows."""
        if rows < EXACT_ROWS:
            return cls(rows, "exact", 0, False, 0, 0)
        recipe = choose_recipe(rows, DIM)
        lists, code_bytes = nlist_of(recipe) or 0, code_sizes(DIM)[form_of(recipe)]
        training = min(rows, training_rows(recipe, DIM))
        return cls(rows, recipe, lists, "HNSW" in recipe, code_bytes, training)

    def figures(self) -> list[str]:
        """Return the cells of the table."""
        of_codes = self.code_bytes + ID_BYTES if self.nlist else 0
        vectors = self.rows * (2 * DIM + ID_BYTES + of_codes)
        return [
            self.recipe,
            f"{self.nlist:,}" if self.nlist else "–",
            f"{decimal(vectors)} + {decimal(self.rows * RECORD_BYTES)}",
            decimal(self.rows * CAPTION_BYTES),
            decimal(self._memory_bytes()),
            f"{self.training:,}" if self.nlist else "–",
            *map(power, (self._train(), self._assign(), *self._query())),
        ]

    def _memory_bytes(self) -> int:
        if not self.nlist:
            return self.rows * (4 * DIM + MARK_BYTES)
        return self.rows * (self.code_bytes + MARK_BYTES) + 4 * DIM * self.nlist

    def _train(self) -> int:
        lists = LIST_ROUNDS * self.training * self.nlist * DIM
        codes = PQ_ROUNDS * min(self.training, PQ_ROWS) * CENTROIDS * DIM
        rotation = ROTATIONS * min(self.training, ROTATION_ROWS) * DIM * DIM
        return lists + codes + rotation if self.nlist else 0

    def _assign(self) -> int:
        by_graph = self.by_graph and self.nlist >= FILLED_BY_GRAPH
        compared = COMPARED_BY_ROW if by_graph else self.nlist
        return self.rows * (compared + DIM + CENTROIDS) * DIM if self.nlist else 0

    def _query(self) -> tuple[int, int, int]:
        """Return the work of choosing lists, of scanning them, and of exact scores."""
        if not self.nlist:
            return 0, 0, self.rows * DIM
        nprobe = lists_to_probe(self.nlist, across=True)
        scanned = nprobe * self.rows * self.code_bytes // self.nlist
        compared = COMPARED_BY_QUERY if self.by_graph else self.nlist
        return compared * DIM, scanned, FIRST_DEPTH * DIM


ROWS = (
    "recipe",
    "`nlist`",
    "on disk: vectors and codes + records",
    "on disk, for captions of ten words",
    "in memory while serving",
    "training rows",
    "training",
    "rows to lists and codes",
    "a query: choice of lists",
    "a query: scan of codes",
    "a query: exact scores",
)


def decimal(size: int) -> str:
    """Return a size in decimal megabytes or gigabytes."""
    return f"{size / 1e6:,.0f} MB" if size < 1e9 else f"{size / 1e9:,.1f} GB"


def power(operations: int) -> str:
    """Return a number of operations, rounded; a dash for none."""
    return f"{operations:.1e}".replace("e+0", "e").replace("e+", "e") if operations else "–"


def main() -> None:
    """Print the table."""
    columns = [Cost.of(rows).figures() for rows in SIZES]
    print("| vectors |", " | ".join(f"{rows:,}" for rows in SIZES), "|")
    print("|---" * (1 + len(SIZES)) + "|")
    for name, *cells in zip(ROWS, *columns, strict=True):
        print(f"| {name} |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
