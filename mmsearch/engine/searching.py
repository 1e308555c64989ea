"""The main flow of a search: candidates -> exact scores -> signals -> fusion -> items -> hits."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mmsearch.engine.chunks import load_chunk
from mmsearch.engine.judging import Judging
from mmsearch.errors import DamagedIndexError, UsageError
from mmsearch.fuse import Signals, fuse
from mmsearch.records import FieldName, FloatArray, Hit, Modality
from mmsearch.search.pool import Pool, Probe, best_words, collect
from mmsearch.store.catalog import Catalog
from mmsearch.store.metadata import CHUNK_BITS
from mmsearch.store.reader import View

LEXICAL_CANDIDATES = 200


@dataclass(frozen=True, slots=True)
class Request:
    """One search, its query embedded.

    Attributes:
        vectors: By space the query's (dim,) float32 vector.
        bridged: Where it would lie in fields that its own spaces do not reach.
        words: The query's text, for the lexical signal.
        targets: Modalities of the parts to be found.
        k: How many items.
        where: Expression over columns that items must satisfy.
        judging: The model's re-ranker for this query, if it has one.
    """

    vectors: Mapping[str, FloatArray]
    bridged: Mapping[FieldName, FloatArray]
    words: str | None
    targets: Sequence[Modality]
    k: int
    where: str | None = None
    judging: Judging | None = None


def run_search(view: View, catalog: Catalog, request: Request) -> list[Hit]:
    """Return the k best items, best first; fewer only where there are no more."""
    allowed = allowed_items(view, catalog, request.where)
    probes = list(_probes(view, request, allowed))
    words = _words(view, catalog, request.words, allowed)
    found_by_words = np.array(sorted(words), np.int64)
    pool = collect(probes, request.k, found_by_words)
    approximate = {name.modality for name in request.bridged}
    return _hits(view, pool, words, request.k, approximate)


def allowed_items(view: View, catalog: Catalog, where: str | None) -> NDArray[np.bool_]:
    """Return for each item id whether it is alive and satisfies the filter."""
    if where is None:
        return view.live_items
    _refuse_old(catalog, view)
    satisfied = catalog.where(where)
    allowed = np.zeros_like(view.live_items)
    allowed[satisfied[satisfied < len(allowed)]] = True
    return allowed & view.live_items


def _probes(view: View, request: Request, allowed: NDArray[np.bool_]) -> Iterator[Probe]:
    for name, field in view.state.fields.items():
        asked = request.vectors.get(name.space, request.bridged.get(name))
        if name.modality in request.targets and asked is not None and field.rows:
            mask = view.alive(name) if request.where is None else allowed[field.owners]
            direct = name not in request.bridged
            judge = request.judging.judge(view, name, field) if request.judging and direct else None
            yield Probe(name, field, asked, mask, view.background(name), judge)


def _refuse_old(catalog: Catalog, view: View) -> None:
    """Refuse a catalog that was not written up to the commit in view: it would leave items out."""
    if catalog.stamp < view.manifest.commit:
        raise DamagedIndexError(f"{catalog.path}: lags behind the records; run `mmsearch repair`")


def _words(
    view: View, catalog: Catalog, words: str | None, allowed: NDArray[np.bool_]
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
    view: View,
    pool: Pool,
    words: Mapping[int, float],
    k: int,
    approximate: Collection[Modality],
) -> list[Hit]:
    lexical = np.array([words.get(int(i), 0.0) for i in pool.item_ids], np.float32)
    scores = fuse(Signals(pool.standings, lexical))
    order = np.lexsort((pool.item_ids, -scores))[:k]
    return [
        _hit(
            view,
            rank,
            float(scores[n]),
            int(pool.chunk_ids[n]),
            _signals(pool, n, float(lexical[n])),
            approximate,
        )
        for rank, n in enumerate(order, start=1)
    ]


def _signals(pool: Pool, n: int, lexical: float) -> dict[str, float]:
    found = {"cosine": float(pool.cosines[n]), "lexical": lexical}
    judged = float(pool.judged[n])
    return found | {"judged": judged} if judged else found


def _hit(
    view: View,
    rank: int,
    score: float,
    chunk_id: int,
    signals: Mapping[str, float],
    approximate: Collection[Modality],
) -> Hit:
    found = load_chunk(view, chunk_id)
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
    filled = [name for name in view.state.fields if view.alive(name).any()]
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
