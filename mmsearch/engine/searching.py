"""The main flow of a search: candidates -> exact scores -> signals -> fusion -> items -> hits."""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.chunks import EmbeddedChunk, load_chunk
from mmsearch.engine.judging import Judging
from mmsearch.errors import DamagedIndexError, UsageError
from mmsearch.fuse import Signals, fuse
from mmsearch.records import FieldName, FloatArray, Hit, Modality
from mmsearch.search.dense import effort
from mmsearch.search.pool import Chunks, Judge, Pool, Probe, best_words, look, pooled
from mmsearch.store.catalog import Catalog
from mmsearch.store.field import Field, Selection
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.reader import View

LEXICAL_CANDIDATES = 200
_BLOCK = 64
"""Queries of a batch that a thread takes at a time, at the most."""
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Asked:
    """One query, embedded.

    Attributes:
        vectors: By space its (dim,) float32 vector.
        bridged: Where it would lie in fields that its own spaces do not reach.
        modalities: What it is asked in; none where its vectors were given.
        words: Its text, for the lexical signal.
        judging: The model's re-ranker for it, if it has one.
    """

    vectors: Mapping[str, FloatArray]
    bridged: Mapping[FieldName, FloatArray]
    modalities: Collection[Modality]
    words: str | None
    judging: Judging | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be found.

    Attributes:
        targets: Modalities of the parts.
        k: How many items.
        where: Expression over columns that items must satisfy.
    """

    targets: Sequence[Modality]
    k: int
    where: str | None = None


def run_search(
    view: View, catalog: Catalog, request: Request, asked: Sequence[Asked]
) -> list[list[Hit]]:
    """Return for each query the k best items, best first; fewer only where there are no more.

    Args:
        view: The index.
        catalog: Its words and columns.
        request: What is to be found.
        asked: Queries, all with vectors in the same spaces.
    """
    allowed = allowed_items(view, catalog, request.where)
    probes = list(_probes(view, request, asked, allowed))
    approximate = {name.modality for name in asked[0].bridged}
    load = cache(partial(load_chunk, view))  # queries of a batch have hits in common

    def find(some: slice) -> list[tuple[Mapping[int, float], Sequence[Chunks]]]:
        words = [_words(view, catalog, allowed, a.words) for a in asked[some]]
        items = [np.array(sorted(mine), np.int64) for mine in words]
        looked = [look(probe.part(some), request.k, items) for probe in probes]
        return list(zip(words, zip(*looked, strict=True), strict=True))

    with _in_blocks(find, len(asked)) as found:
        return [
            _hits(load, pooled(chunks), words, request.k, approximate) for words, chunks in found
        ]


@contextmanager
def _in_blocks(find: Callable[[slice], list[Found]], count: int) -> Iterator[Iterator[Found]]:
    """Yield what is found for each of some queries, while all cores look for the next ones.

    FAISS and NumPy let go of Python's lock for most of their time. LMDB's transaction serves one
    thread, so whoever takes what is found reads the records.
    """
    if count == 1:
        yield iter(find(slice(1)))
        return
    cores = os.cpu_count() or 1
    size = min(_BLOCK, -(-count // cores))
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


def _probes(
    view: View, request: Request, asked: Sequence[Asked], allowed: NDArray[np.bool_]
) -> Iterator[Probe]:
    for name, field in view.state.fields.items():
        vectors = [
            vector
            for a in asked
            if (vector := a.vectors.get(name.space, a.bridged.get(name))) is not None
        ]
        if name.modality in request.targets and vectors and field.rows:
            filtered = request.where is not None
            rows = Selection(allowed[field.owners]) if filtered else view.alive(name)
            kind = _kind(asked)
            yield Probe(
                field,
                queries=np.stack(vectors),
                allowed=rows,
                background=view.background(name),
                effort=effort(field, kind),
                judges=[_judge(view, name, field, a) for a in asked],
                hubs=field.nearness.get(*kind) if len(kind) == 1 else None,
            )


def _kind(asked: Sequence[Asked]) -> Collection[Modality]:
    """Return the modalities that all queries are asked in, none where they differ."""
    kinds = {frozenset(a.modalities) for a in asked}
    return kinds.pop() if len(kinds) == 1 else ()


def _judge(view: View, name: FieldName, field: Field, asked: Asked) -> Judge | None:
    if asked.judging is None or name in asked.bridged:
        return None
    return asked.judging.judge(view, name, field)


def _refuse_old(catalog: Catalog, view: View) -> None:
    """Refuse a catalog that was not written up to the commit in view: it would leave items out."""
    if catalog.stamp < view.manifest.commit:
        raise DamagedIndexError(f"{catalog.path}: lags behind the records; run `mmsearch repair`")


def _words(
    view: View, catalog: Catalog, allowed: NDArray[np.bool_], words: str | None
) -> Mapping[int, float]:
    """Return the lexical score of the items that hold words of the query."""
    if words is None:
        return {}
    _refuse_old(catalog, view)
    count, first = LEXICAL_CANDIDATES, int(np.argmax(view.live_items))
    chunks = range(first << CHUNK_BITS, len(allowed) << CHUNK_BITS)
    while True:  # most of what is found may be filtered out
        found = catalog.lexical(words, count, chunks)
        kept = [(i, s) for i, s in found if allowed[i >> CHUNK_BITS]]
        if len(kept) >= LEXICAL_CANDIDATES or len(found) < count:
            return best_words(kept[:LEXICAL_CANDIDATES])
        count *= 16


def _hits(
    load: Callable[[int], EmbeddedChunk],
    pool: Pool,
    words: Mapping[int, float],
    k: int,
    approximate: Collection[Modality],
) -> list[Hit]:
    lexical = np.zeros(len(pool.chunk_ids), np.float32)
    if words:
        lexical[:] = [words.get(i, 0.0) for i in pool.item_ids.tolist()]
    scores = fuse(Signals(pool.standings, lexical))
    best = pool.best(scores, k)
    columns = (pool.chunk_ids, scores, pool.cosines, pool.hubness, lexical, pool.judged)
    rows = zip(*(column[best].tolist() for column in columns), strict=True)
    return [
        _hit(rank, score, load(chunk_id), _signals(*signals), approximate)
        for rank, (chunk_id, score, *signals) in enumerate(rows, start=1)
    ]


def _signals(cosine: float, hubness: float, lexical: float, judged: float) -> dict[str, float]:
    found = {"cosine": cosine, "lexical": lexical}
    rare = {"hubness": hubness, "judged": judged}
    return found | {name: value for name, value in rare.items() if value}


def _hit(
    rank: int,
    score: float,
    found: EmbeddedChunk,
    signals: Mapping[str, float],
    approximate: Collection[Modality],
) -> Hit:
    by_texts = found.part.modality in approximate
    return Hit(
        rank, score, None, found.item, found.part, found.chunk, found.text, signals, by_texts
    )


def resolve_targets(
    view: View,
    spaces: Collection[str],
    bridged: Collection[FieldName],
    targets: Sequence[Modality] | None,
) -> Sequence[Modality]:
    """Return the modalities to search: those asked for, else all that can be found.

    Args:
        view: The index.
        spaces: The names of the spaces that the query has a vector in.
        bridged: The fields that it reaches by way of texts.
        targets: What is asked for.

    Raises:
        UsageError: Nothing was indexed in a modality that is asked for, or its vectors compare
            with none of the query's.
    """
    filled = [name for name in view.state.fields if view.alive(name).count]
    held = sorted({name.modality for name in filled})
    found = sorted({n.modality for n in filled if n.space in spaces or n in bridged})
    for target in found if targets is None else targets:
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
    return found if targets is None else targets


def _no_way(view: View, found: str, target: str, advice: str = "ask in words") -> UsageError:
    """Return the error for modalities that share no space with the query."""
    instead = f"; such a query finds {found}" if found else ""
    return UsageError(
        f"{view.folder}: model {view.manifest.model!r} has no space for both this kind of query "
        f"and {target}{instead}: {advice}"
    )
