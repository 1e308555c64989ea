"""How well hits are ranked: what each signal gains, and whether relevance is a probability.

Run: ``python benchmarks/ranking.py [--model DIR] [--data DIR]``; prints tables. DIR is a folder of
weights of `mini` that have not seen the Flickr8k dev split; by default the shipped ones.

The first 500 photos of that split are what constants were chosen by (``ranking_fit.py``), the other
500 are what is told here. p-values are of a paired
randomisation test over photos, the five captions of one together.
"""

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from machine import describe
from numpy.typing import NDArray

import mmsearch
from mmsearch import Hit, Index, Item, Modality, Model, Part, load_model
from mmsearch.fuse import Signals, convex, lexical_strength, relevance, scores
from mmsearch.metrics import (
    Measure,
    Values,
    auroc,
    brier_skill,
    expected_calibration_error,
    measure_queries,
    paired_differences,
)
from mmsearch.search.evidence import line
from mmsearch.search.hubs import HubCorrection
from mmsearch.search.pool import pooled
from mmsearch.search.probing import Chunks
from mmsearch.train.mini.data import Picture, flickr, recordings

IMAGE, TEXT, AUDIO = Modality.IMAGE, Modality.TEXT, Modality.AUDIO
HALF = 500
DEPTH = 100
MEASURES = (Measure.HIT_AT_1, Measure.HIT_AT_10, Measure.NDCG_AT_10)
QBNORM = HubCorrection.QBNORM.value
THRESHOLDS = (0.05, 0.1, 0.2)
Truth = Sequence[set[str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Queries with what is relevant to each, and the photo that each is about."""

    queries: Sequence[Any]
    relevant: Truth
    about: Sequence[int]


def photo(number: int, picture: Picture, *captions: str, title: str = "photo") -> Item:
    """A picture that its name says nothing of, unless it has a title, with captions."""
    parts = [Part("photo", IMAGE, path=str(picture.path))]
    parts += [Part(f"caption{n}", TEXT, text=text) for n, text in enumerate(captions)]
    return Item(f"p{number}", tuple(parts), columns={"title": title})


def caption(name: str, text: str) -> Item:
    """A text without a picture."""
    return Item(name, (Part("text", TEXT, text=text),), columns={"title": "text"})


def captions(pictures: Sequence[Picture], relevant: str = "p{}", first: int = 0) -> Asked:
    """Ask with captions for what stands for their photos."""
    pairs = [(n, text) for n, picture in enumerate(pictures) for text in picture.texts[first:]]
    about = [n for n, _ in pairs]
    return Asked([text for _, text in pairs], [{relevant.format(n)} for n in about], about)


def photos(pictures: Sequence[Picture]) -> Asked:
    """Ask with photos for their captions."""
    relevant = [{f"c{n}.{m}" for m in range(len(p.texts))} for n, p in enumerate(pictures)]
    queries = [mmsearch.Query(image=picture.path) for picture in pictures]
    return Asked(queries, relevant, range(len(pictures)))


def index_of(folder: Path, model: Model, items: Iterable[Item]) -> Index:
    """An index of some items."""
    index = mmsearch.create(folder, model=model)
    report = index.add(items)
    assert not report.failures, report.failures[:1]
    return index


def names(hits: Sequence[Hit]) -> list[str]:
    """The sources of hits."""
    return [hit.item.source for hit in hits]


def figures(ranked: Sequence[Sequence[str]], asked: Asked) -> Values:
    """hit_at_1, hit_at_10 and nDCG@10 of each photo's queries, (photos, 3)."""
    grades = [dict.fromkeys(relevant, 1) for relevant in asked.relevant]
    measured = measure_queries(ranked, grades, DEPTH)
    rows = np.stack([measured[measure] for measure in MEASURES], axis=1)
    sums, counts = np.zeros((max(asked.about) + 1, 3)), np.bincount(asked.about)
    np.add.at(sums, np.array(asked.about), rows)
    kept = counts > 0
    return np.asarray(sums[kept] / counts[kept, None])


def compared(title: str, settings: Mapping[str, Values]) -> None:
    """Print each setting's figures, and its gain over the first."""
    print(f"\n| {title} | hit_at_1 | hit_at_10 | nDCG@10 |\n|---|---|---|---|")
    first = next(iter(settings.values()))
    for name, values in settings.items():
        cells = [f"{mean:.4f}" for mean in values.mean(axis=0)]
        if values is not first:
            gains = values.mean(axis=0) / first.mean(axis=0) - 1
            tests = paired_differences(values, first)
            cells = [
                f"{cell} ({gain:+.1%}, p {test.p:.4f})"
                for cell, gain, test in zip(cells, gains, tests, strict=True)
            ]
        print(f"| {name} | {' | '.join(cells)} |")


def search(index: Index, asked: Asked, **options: Any) -> list[list[Hit]]:
    """Hits for all queries."""
    return index.search_many(list(asked.queries), k=DEPTH, **options)


def settings(index: Index, asked: Asked, target: Modality, *names_: str) -> dict[str, Values]:
    """Figures of some fusion scorers, and of the default with QB-Norm."""
    options = {name: {"hubs": name} if name == QBNORM else {"rerank": name} for name in names_}
    return {
        name: figures([names(h) for h in search(index, asked, target=target, **mine)], asked)
        for name, mine in options.items()
    }


def directions(folder: Path, model: Model, data: Path, dev: Sequence[Picture]) -> None:
    """Captions hidden: plain cosines against the default, with banks of several kinds."""
    report, other = dev[HALF:], dev[:HALF]
    train = [text for picture in flickr(data, "train") for text in picture.texts]
    gallery = [photo(n, picture) for n, picture in enumerate(report)]
    real = [caption(f"train{n}", text) for n, text in enumerate(train[:: len(train) // 4_000])]
    asked = captions(report)
    with index_of(folder / "pictures", model, gallery) as index:
        found = settings(index, asked, IMAGE, "none", "convex", QBNORM)
        calibrated("text->image", search(index, asked, target=IMAGE), asked)
        calibrated("text->image, qbnorm", search(index, asked, target=IMAGE, hubs=QBNORM), asked)
    with index_of(folder / "real", model, [*gallery, *real]) as index:
        captioned = settings(index, asked, IMAGE, "convex", QBNORM)
        found |= {f"{name}, bank of train captions": one for name, one in captioned.items()}
    compared("captions to 500 photos", found)
    texts = [
        caption(f"c{n}.{m}", text) for n, p in enumerate(report) for m, text in enumerate(p.texts)
    ]
    pictures = [photo(HALF + n, picture) for n, picture in enumerate(other)]
    asked = photos(report)
    with index_of(folder / "texts", model, [*texts, *pictures]) as index:
        compared("500 photos to captions", settings(index, asked, TEXT, "none", "convex", QBNORM))
        calibrated("image->text", search(index, asked, target=TEXT), asked)
        calibrated("image->text, qbnorm", search(index, asked, target=TEXT, hubs=QBNORM), asked)


def visible(folder: Path, model: Model, report: Sequence[Picture]) -> None:
    """One caption of each photo in the index, or as its title; the four others ask."""
    asked = captions(report, first=1)
    captioned = [photo(n, picture, picture.texts[0]) for n, picture in enumerate(report)]
    with index_of(folder / "captioned", model, captioned) as index:
        alone = {
            "photos' vectors alone": settings(index, asked, IMAGE, "none")["none"],
            "captions' vectors alone": settings(index, asked, TEXT, "none")["none"],
        }
        fused("captions to captioned photos", index, asked, alone)
        calibrated("text->captioned image", search(index, asked, target=IMAGE), asked)
    titled = [photo(n, picture, title=picture.texts[0]) for n, picture in enumerate(report)]
    with index_of(folder / "titled", model, titled) as index:
        alone = {"photos' vectors alone": settings(index, asked, IMAGE, "none")["none"]}
        fused("captions to photos with a title", index, asked, alone)
        calibrated("text->titled image", search(index, asked, target=IMAGE), asked)


def fused(title: str, index: Index, asked: Asked, alone: Mapping[str, Values]) -> None:
    """Print what words find, what vectors find, and what scorers make of both."""
    words = {"BM25 alone": figures(by_words(index, asked), asked)}
    both = settings(index, asked, IMAGE, "rrf", "convex", QBNORM)
    compared(title, {**words, **alone, **both})


def by_words(index: Index, asked: Asked) -> list[list[str]]:
    """What BM25 finds without any vector."""
    catalog = index._reader.catalog
    with index._reader.view() as view:
        stored = {s.id: s.item.source for s in view.snapshot.items()}
        chunks = range(len(view.live_items) << 20)
        every = (catalog.lexical(str(query), 200, chunks) for query in asked.queries)
        return [[*dict.fromkeys(stored[chunk >> 20] for chunk, _ in some)] for some in every]


def mixed(folder: Path, model: Model, data: Path, report: Sequence[Picture]) -> None:
    """Photos, captions and sounds in one list."""
    half = len(report) // 2
    sounds = [sound for sound in recordings(data) if sound.kind == "esc10"]
    items = [photo(n, picture) for n, picture in enumerate(report[:half])]
    items += [caption(f"c{n}", p.texts[0]) for n, p in enumerate(report) if n >= half]
    items += [Item(str(s.path), (Part("sound", AUDIO, path=str(s.path)),)) for s in sounds]
    classes = sorted({sound.label for sound in sounds})
    of_class = {c: {str(s.path) for s in sounds if s.label == c} for c in classes}
    looking, reading = captions(report[:half]), captions(report, relevant="c{}", first=1)
    kept = [n for n, about in enumerate(reading.about) if about >= half]
    asked = Asked(
        [*looking.queries, *(reading.queries[n] for n in kept), *classes],
        [*looking.relevant, *(reading.relevant[n] for n in kept), *of_class.values()],
        [*looking.about, *(reading.about[n] for n in kept), *range(len(report), len(report) + 10)],
    )
    with index_of(folder / "mixed", model, items) as index:
        apart = [search(index, asked, target=m, rerank="none") for m in (IMAGE, TEXT, AUDIO)]
        lists = list(zip(*apart, strict=True))
        kinds = np.repeat([0, 1, 2], [len(looking.queries), len(kept), len(classes)])
        found = {
            "raw cosines": [by(hits, lambda hit: hit.signals["cosine"]) for hits in lists],
            "interleaved": [interleaved(hits) for hits in lists],
            "z-scores": [by(hits, standing) for hits in lists],
            "evidence": [by(hits, lambda hit: hit.score) for hits in lists],
            "convex": [names(hits) for hits in search(index, asked)],
            QBNORM: [names(hits) for hits in search(index, asked, hubs=QBNORM)],
            "the kind that is meant alone": [
                names(hits[kind]) for hits, kind in zip(lists, kinds, strict=True)
            ],
        }
    compared(
        "250 photos, 250 captions, 400 sounds", {n: figures(f, asked) for n, f in found.items()}
    )


def standing(hit: Hit) -> float:
    """By how many deviations a hit of a text query stands above its background."""
    kind = line((TEXT,), hit.part.modality)
    return (hit.score - kind.offset) / kind.slope


def by(lists: Sequence[Sequence[Hit]], value: Any) -> list[str]:
    """Hits of several lists in one, by a value."""
    return names(sorted(chain(*lists), key=value, reverse=True))


def interleaved(lists: Sequence[Sequence[Hit]]) -> list[str]:
    """The first of each list, then the second of each, and so on."""
    return names([hit for hit in chain(*zip_longest(*lists)) if hit])


def outcomes(found: Sequence[Sequence[Hit]], truth: Truth) -> tuple[Values, NDArray[np.bool_]]:
    """Relevance of the ten first hits, and whether each is relevant."""
    pairs = [
        (hit.relevance, hit.item.source in relevant)
        for hits, relevant in zip(found, truth, strict=True)
        for hit in hits[:10]
    ]
    return np.array([p for p, _ in pairs]), np.array([right for _, right in pairs])


def calibrated(direction: str, found: Sequence[Sequence[Hit]], asked: Asked) -> None:
    """Print whether relevance is a probability, and what comes of queries with no answer.

    For those, what is relevant is taken out of the answers of every other photo's queries.
    """
    p, right = outcomes(found, asked.relevant)
    print(
        f"\n{direction}: ECE {expected_calibration_error(p, right):.4f}, Brier skill "
        f"{brier_skill(p, right):+.3f}, AUROC {auroc(p, right):.3f}, base rate {right.mean():.3f}"
    )
    first, empty = [], []
    for hits, relevant, about in zip(found, asked.relevant, asked.about, strict=True):
        left = [hit for hit in hits if about % 2 or hit.item.source not in relevant]
        first.append(left[0].relevance if left else 0.0)
        empty.append(about % 2 == 0)
    for threshold in THRESHOLDS:
        said = np.array(first) < threshold
        true = said & np.array(empty)
        precision, recall = true.sum() / max(1, said.sum()), true.sum() / sum(empty)
        print(f"  nothing at {threshold}: precision {precision:.3f}, recall {recall:.3f}")


def speed() -> None:
    """Print what scoring 200 candidates takes on one core."""
    rng = np.random.default_rng(0)
    ids = np.sort(rng.choice(10_000, 200, replace=False)).astype(np.int64) << 20
    cosines, corrected, standings, evidence = rng.standard_normal((4, 200)).astype(np.float32)
    chunks = [
        Chunks(ids + n, cosines, corrected, standings, evidence, part)
        for n, part in enumerate((IMAGE, TEXT))
    ]
    worded = np.ones(200, bool)
    started = time.perf_counter()
    for _ in range(1_000):
        items = pooled(chunks).items()
        signals = Signals(items.evidence, items.evidence, np.abs(items.evidence), worded)
        relevance(scores(convex(signals)), lexical_strength(signals), 1_000)
    print(f"\nscoring 200 items of two fields: {time.perf_counter() - started:.3f} ms")


def options(description: str | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    return parser.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = options(__doc__)
    model = load_model(arguments.model)
    dev = flickr(arguments.data, "dev")
    with TemporaryDirectory() as name:
        folder = Path(name)
        directions(folder, model, arguments.data, dev)
        visible(folder, model, dev[HALF:])
        mixed(folder, model, arguments.data, dev[HALF:])
    speed()
    digests = ", ".join(f"{space.name} {space.sha256[:12]}" for space in model.spaces)
    print(f"\n{describe()}; weights {digests}")


if __name__ == "__main__":
    main()
