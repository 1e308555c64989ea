"""Composed queries: which way to put a text and a picture together, or to keep something away.

Run: ``python benchmarks/composed.py [--model DIR] [--data DIR]``; prints two tables.

Queries are made of things that at least two of a photo's five captions name. Wanted without: what
shows one thing, and another one in no caption. Wanted with: what shows both, asked with a photo
that shows only the first, and the name of the second. The photos are Flickr8k's dev split.
"""

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from machine import describe
from numpy.typing import NDArray

import mmsearch
from mmsearch import Hit, Index, Item, Modality, Part, Query, load_model
from mmsearch.engine.embedding import Weighted, embed_many, pointed
from mmsearch.metrics import Measure, measure_queries
from mmsearch.train.mini.data import Picture, flickr

NAMES: Mapping[str, str] = {
    "dog": "dog|puppy",
    "bicycle": "bike|bicycle|bicyclist|cyclist",
    "ball": "ball",
    "water": "water|lake|ocean|river|pool|sea",
    "snow": "snow|snowy",
    "grass": "grass|grassy|lawn",
    "beach": "beach|sand",
    "street": "street|road|sidewalk",
    "people": "man|men|woman|women|boy|girl|child|children|people|person|kid|lady|player|baby",
    "car": "car|truck",
    "tree": "tree|woods|forest",
    "boat": "boat|kayak|canoe",
    "red clothes": "red shirt|red jacket|red dress|in red",
    "mountain": "mountain|hill|cliff",
    "child": "child|children|boy|girl|kid|baby|toddler",
    "man": "man|men|guy",
    "woman": "woman|women|lady",
}
LEAST = 8
DEPTH = 100
_EACH = 4
"""Photos to ask with, for each pair of things."""


def named(pictures: Sequence[Picture]) -> Mapping[str, NDArray[np.int64]]:
    """In how many captions of each photo each thing is named."""
    patterns = {name: re.compile(rf"\b({words})s?\b") for name, words in NAMES.items()}
    return {
        name: np.array([sum(bool(p.search(t.lower())) for t in x.texts) for x in pictures])
        for name, p in patterns.items()
    }


def without(
    counts: Mapping[str, NDArray[np.int64]],
) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
    """What is wanted, what is not, and the photos that are right."""
    for wanted, unwanted in permutations(NAMES, 2):
        shows = counts[wanted] >= 2
        right = np.flatnonzero(shows & (counts[unwanted] == 0))
        if len(right) >= LEAST and (shows & (counts[unwanted] > 0)).sum() > 0.15 * shows.sum():
            yield wanted, unwanted, right


def both(
    counts: Mapping[str, NDArray[np.int64]],
) -> Iterator[tuple[int, str, NDArray[np.int64]]]:
    """A photo to ask with, a word, and the photos that are right."""
    rng = np.random.default_rng(0)
    for shown, said in permutations(NAMES, 2):
        right = np.flatnonzero((counts[shown] >= 2) & (counts[said] >= 2))
        askers = np.flatnonzero((counts[shown] >= 3) & (counts[said] == 0))
        if len(right) >= LEAST and len(askers) >= _EACH:
            for asker in rng.choice(askers, _EACH, replace=False).tolist():
                yield asker, said, right


def told(title: str, found: Mapping[str, list[list[str]]], truth: Sequence[set[str]]) -> None:
    """Print nDCG@10 of each way."""
    print(f"\n| {title}, {len(truth)} queries | nDCG@10 |\n|---|---|")
    grades = [dict.fromkeys(right, 1) for right in truth]
    for name, ranked in found.items():
        values = measure_queries(ranked, grades, DEPTH)[Measure.NDCG_AT_10]
        print(f"| {name} | {values.mean():.3f} |")


def names(hits: Sequence[Hit], asker: int | None = None) -> list[str]:
    """What was found, without the photo that was asked with."""
    return [hit.item.source for hit in hits if hit.item.source != str(asker)]


def summed(index: Index, query: Query, weights: Sequence[float]) -> list[Hit]:
    """Search with the plain weighted sum of a query's embeddings: early fusion."""
    ((space, terms),) = embed_many([query], index.model)[0].items()
    weighed = [Weighted(t.vector, w) for t, w in zip(terms, weights, strict=True)]
    return index.search(vector=pointed({space: weighed})[space], target="image", k=DEPTH)


def fused(lists: Sequence[Sequence[Hit]], asker: int) -> list[str]:
    """Reciprocal rank fusion of several rankings."""
    scores: dict[str, float] = {}
    for hits in lists:
        for rank, name in enumerate(names(hits, asker), start=1):
            scores[name] = scores.get(name, 0) + 1 / (60 + rank)
    return sorted(scores, key=scores.__getitem__, reverse=True)


def exclusions(index: Index, counts: Mapping[str, NDArray[np.int64]]) -> None:
    """Something without something else."""
    asked = list(without(counts))
    ways: dict[str, list[list[str]]] = {}
    for wanted, unwanted, _ in asked:
        rows = {"without exclusion": index.search(wanted, target="image", k=DEPTH)}
        for weight in (0.25, 0.5, 1.0, 2.0):
            query = Query(wanted, exclude={unwanted: weight})
            rows[f"difference of embeddings, {weight}"] = summed(index, query, [1, -weight])
            rows[f"difference of standings, {weight}"] = index.search_many(
                [query], target="image", k=DEPTH
            )[0]
        for name, hits in rows.items():
            ways.setdefault(name, []).append(names(hits))
    told("a thing without another", ways, [{str(n) for n in right} for *_, right in asked])


def compositions(
    index: Index, counts: Mapping[str, NDArray[np.int64]], pictures: Sequence[Picture]
) -> None:
    """A photo, and words for what else is to be on it."""
    asked = list(both(counts))
    ways: dict[str, list[list[str]]] = {}
    for asker, said, _ in asked:
        image = pictures[asker].path
        alone = (
            index.search(said, target="image", k=DEPTH),
            index.search(image=image, target="image", k=DEPTH),
        )
        query = Query(said, image=image)
        rows = {
            "the words alone": names(alone[0], asker),
            "the photo alone": names(alone[1], asker),
            "ranks of both (rrf)": fused(alone, asker),
            "sum of embeddings": names(summed(index, query, [1, 1]), asker),
            "sum of embeddings, words twice": names(summed(index, query, [2, 1]), asker),
        }
        for weight in (1, 2):
            hits = index.search(
                said, image=image, weights={"text": weight}, target="image", k=DEPTH
            )
            rows[f"sum of standings, words {weight}"] = names(hits, asker)
        for name, ranked in rows.items():
            ways.setdefault(name, []).append(ranked)
    truth = [{str(n) for n in right if n != asker} for asker, _, right in asked]
    told("a photo with something else", ways, truth)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    pictures = flickr(arguments.data, "dev")
    counts = named(pictures)
    items = (
        Item(str(n), (Part("photo", Modality.IMAGE, path=str(p.path)),), columns={"title": "photo"})
        for n, p in enumerate(pictures)
    )
    model = load_model(arguments.model)
    with TemporaryDirectory() as folder, mmsearch.create(f"{folder}/index", model=model) as index:
        index.add(items)
        exclusions(index, counts)
        compositions(index, counts, pictures)
    digests = ", ".join(f"{space.name} {space.sha256[:12]}" for space in model.spaces)
    print(f"\n{describe()}; weights {digests}")


if __name__ == "__main__":
    main()
