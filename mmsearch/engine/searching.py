"""The main flow of a search: candidates -> exact scores -> signals -> fusion -> items -> hits."""

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.answers import Answers
from mmsearch.engine.fusing import Found, Scoring, Words, matched, scoring
from mmsearch.engine.preferring import preferring
from mmsearch.engine.probes import probes_of
from mmsearch.engine.request import Asked, Request
from mmsearch.errors import DamagedIndexError, UsageError
from mmsearch.records import FieldName, Hit, Modality
from mmsearch.search.pool import best_words, pooled
from mmsearch.search.probing import Chunks, begun, look
from mmsearch.store.catalog import Catalog
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.reader import View

LEXICAL_CANDIDATES = 200
Taken = TypeVar("Taken")


def run_search(
    view: View,
    catalog: Catalog,
    request: Request,
    asked: Sequence[Asked],
    score: Scoring | None = None,
) -> list[list[Hit]]:
    """Return for each query the k best items, best first; fewer only where there are no more.

    Items that are too unlikely to be relevant do not count.

    Args:
        view: The index.
        catalog: Its words and columns.
        request: What is to be found.
        asked: Queries, all with vectors in the same spaces.
        score: Gives scores to what is found, instead of the scorer that is asked for.
    """
    score = score or scoring(view, request.rerank)
    if request.prefer:
        _refuse_old(catalog, view)
        score = preferring(view, catalog, request.prefer, score)
    allowed = allowed_items(view, catalog, request.where)
    probes = [begun(probe, request.depth) for probe in probes_of(view, request, asked, allowed)]
    shown = frozenset(probe.field.info.name for probe in probes if probe.shown)

    def find(some: slice) -> list[tuple[Words, Sequence[Chunks]]]:
        words = [_words(view, catalog, allowed, request, a, shown) for a in asked[some]]
        items = [np.array(sorted(mine.scores), np.int64) for mine in words]
        looked = look([probe.part(some) for probe in probes], request.depth, items)
        return list(zip(words, looked, strict=True))

    approximate = {name.modality for name in asked[0].bridged}
    texts = (name for name in view.state.fields if name.modality is Modality.TEXT)
    worded = view.holders(frozenset(texts))
    answers = Answers(view, request, score, approximate)
    with _in_blocks(find, len(asked)) as found:
        pools = (
            Found.of(n, asked[n], request, probes, pooled(chunks), words, worded)
            for n, (words, chunks) in enumerate(found)
        )
        return [answers.hits(matched(view, one)) for one in pools]


@contextmanager
def _in_blocks(find: Callable[[slice], list[Taken]], count: int) -> Iterator[Iterator[Taken]]:
    """Yield what is found for each of some queries; all cores look, each for as many.

    FAISS and NumPy let go of Python's lock for most of their time. LMDB's transaction serves one
    thread, so whoever takes what is found reads the records. To take it while others look for more
    costs more than waiting: threads then wake each other for Python's lock at each step.
    """
    if count == 1:
        yield iter(find(slice(1)))
        return
    cores = os.cpu_count() or 1
    size = -(-count // cores)
    blocks = [slice(start, start + size) for start in range(0, count, size)]
    with ThreadPoolExecutor(cores) as pool:
        yield chain.from_iterable(pool.map(find, blocks))


def allowed_items(view: View, catalog: Catalog, where: str | None) -> NDArray[np.bool_]:
    """Return for each item id whether it is alive and satisfies the filter."""
    if where is None:
        return view.live_items
    _refuse_old(catalog, view)
    satisfied = catalog.where(where)
    allowed = np.zeros_like(view.live_items)
    allowed[satisfied[satisfied < len(allowed)]] = True
    return allowed & view.live_items


def _refuse_old(catalog: Catalog, view: View) -> None:
    """Refuse a catalog that was not written up to the commit in view: it would leave items out."""
    if catalog.stamp < view.manifest.commit:
        raise DamagedIndexError(f"{catalog.path}: lags behind the records; run `mmsearch repair`")


def _words(
    view: View,
    catalog: Catalog,
    allowed: NDArray[np.bool_],
    request: Request,
    asked: Asked,
    shown: frozenset[FieldName],
) -> Words:
    """Return the lexical score of the items that hold words of the query, or unwanted ones."""
    words = {} if asked.words is None else {asked.words: 1.0}
    weights = [*words.items(), *((text, -weight) for text, weight in asked.unwanted.items())]
    if not weights or not request.looks_closely:
        return Words({})
    findable, total, unfound = allowed & view.holders(shown), dict[int, float](), 0.0
    for text, weight in weights:
        found = _found_by_words(view, catalog, findable, text)
        unfound += weight * found.unfound
        for item_id, score in found.scores.items():
            total[item_id] = total.get(item_id, 0.0) + weight * score
    return Words(total, unfound)


def _found_by_words(view: View, catalog: Catalog, allowed: NDArray[np.bool_], words: str) -> Words:
    _refuse_old(catalog, view)
    count, first = LEXICAL_CANDIDATES, int(np.argmax(view.live_items))
    chunks = range(first << CHUNK_BITS, len(allowed) << CHUNK_BITS)
    while True:  # most of what is found may be filtered out
        found = catalog.lexical(words, count, chunks)
        kept = [(i, s) for i, s in found if allowed[i >> CHUNK_BITS]]
        if len(kept) >= LEXICAL_CANDIDATES:
            most = kept[:LEXICAL_CANDIDATES]
            return Words(best_words(most), unfound=most[-1][1])
        if len(found) < count:
            return Words(best_words(kept))
        count *= 16


def resolve_targets(
    view: View,
    spaces: Collection[str],
    bridged: Collection[FieldName],
    targets: Sequence[Modality],
) -> Sequence[Modality]:
    """Return the modalities to search: those asked for, else all that can be found.

    Args:
        view: The index.
        spaces: The names of the spaces that the query has a vector in.
        bridged: The fields that it reaches by way of texts.
        targets: What is asked for, if anything is.

    Raises:
        UsageError: Nothing was indexed in a modality that is asked for, or its vectors compare
            with none of the query's.
    """
    filled = [name for name in view.state.fields if view.alive(name).count]
    held = sorted({name.modality for name in filled})
    found = sorted({n.modality for n in filled if n.space in spaces or n in bridged})
    for target in targets:
        if target not in held:
            holds = ", ".join(held) or "nothing yet"
            raise UsageError(f"{view.folder}: holds no {target} (it holds {holds})")
        if target not in found:
            raise _no_way(view, ", ".join(found), target)
    if not found:
        raise (
            _no_way(view, "", ", ".join(held), "ask in words, or name what is to be found")
            if held
            else UsageError(f"{view.folder}: holds nothing yet; `mmsearch index PATH` adds to it")
        )
    return targets or found


def _no_way(view: View, found: str, target: str, advice: str = "ask in words") -> UsageError:
    """Return the error for modalities that share no space with the query."""
    instead = f"; such a query finds {found}" if found else ""
    return UsageError(
        f"{view.folder}: model {view.manifest.model!r} has no space for both this kind of query "
        f"and {target}{instead}: {advice}"
    )
