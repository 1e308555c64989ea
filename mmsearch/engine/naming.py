"""What qrels and runs call the items of an index."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from mmsearch.records import Item


@dataclass(frozen=True, slots=True)
class Naming:
    """Names of items, in a file that says what is relevant.

    A file is called by its path. A row of a manifest is called by its id or number, by that behind
    the manifest and a colon (``list.jsonl:17``), or by the path of a file that is a part of it.
    Paths start at the folder of the file that they stand in.

    Attributes:
        folder: That folder, absolute.
    """

    folder: str

    def places(self, names: Iterable[str]) -> dict[str, str]:
        """Return the names by what :meth:`called` may yield for the items that they mean."""
        places: dict[str, str] = {}
        for name in names:
            places.setdefault(name, name)
            places.setdefault(os.path.normpath(os.path.join(self.folder, name)), name)
        return places

    def name(self, item: Item, places: Mapping[str, str]) -> str:
        """Return the name that an item was judged by, else one that no other item has."""
        judged = next((places[each] for each in called(item) if each in places), None)
        if judged is not None:
            return judged
        full = next(called(item))
        below = os.path.join(self.folder, "")
        return full.removeprefix(below)


def called(item: Item) -> Iterator[str]:
    """Yield everything that an item may be called, the first of which is its own alone."""
    yield item.source if item.row is None else f"{item.source}:{item.row}"
    if item.row is not None:
        yield item.row
    for part in item.parts:
        if part.path is not None:
            yield part.path
