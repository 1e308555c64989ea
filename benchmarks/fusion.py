"""What learned fusion scorers gain, and what they cost.

Run: ``OMP_NUM_THREADS=1 python benchmarks/fusion.py [--data DIR] [--seeds N]``; prints tables.

The index holds the 1,000 photos of Flickr8k's dev split, each with one of its captions; the four
others ask for it. Scorers are fitted to the queries about photos 1 to 500 and told about on those
of the other 500; p-values are of a paired randomisation test over photos. Then, as a user would,
`train_fusion` is given 5,000 queries about 1,250 photos.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from machine import describe
from ranking import HALF, IMAGE, index_of, photo

from mmsearch import Index, load_model
from mmsearch.engine.embedding import embed_many
from mmsearch.engine.fusing import Found, scoring
from mmsearch.engine.judged import read_queries
from mmsearch.engine.request import Request
from mmsearch.fuse import Shares
from mmsearch.fuse.learned import Learned
from mmsearch.metrics import Values
from mmsearch.train.fusion import train_fusion
from mmsearch.train.fusion.examples import Example, collect
from mmsearch.train.fusion.fit import fit
from mmsearch.train.fusion.groups import groups, split
from mmsearch.train.fusion.report import difference, measured, scored
from mmsearch.train.mini.data import Picture, flickr
from mmsearch.train.splits import Split

TIMED = 1_000


def pairs(path: Path, photos: Sequence[tuple[int, Picture]]) -> Path:
    """Write down queries: captions that the index does not hold, and whose they are."""
    rows = [{"text": text, "relevant": f"p{n}"} for n, p in photos for text in p.texts[1:]]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def examples(index: Index, path: Path, kind: Learned) -> list[Example]:
    """What the default scorer finds."""
    request = Request((IMAGE,), k=1, rerank=kind)
    return collect(index, read_queries(path, None, ()), request, lambda line: None).found


def gained(index: Index, first: Path, second: Path, kind: Learned, seeds: int) -> None:
    """Print figures of the second half for scorers that were fitted to the first."""
    known, fresh = (examples(index, path, kind) for path in (first, second))
    grouped, default = groups(fresh), measured(fresh, [e.candidates.scores for e in fresh])
    told("convex", default)
    for seed in range(seeds):
        parts = split(groups(known), seed)
        taught = [known[n] for name in (Split.TRAIN, Split.TEST) for n in parts[name]]
        arrays = fit(kind, taught, [known[n] for n in parts[Split.VALIDATION]], seed)
        found = measured(fresh, [scored(kind, arrays, e) for e in fresh])
        gain = difference(found, default, grouped)
        told(f"{kind}, seed {seed}", found, f"{gain.value:+.4f}, p {gain.p:.4f}")


def told(name: str, values: Values, gain: str = "") -> None:
    """Print a row of a table."""
    cells = " | ".join(f"{mean:.4f}" for mean in values.mean(axis=0))
    print(f"| {name} | {cells} | {gain} |", flush=True)


def trained(index: Index, path: Path, kind: Learned) -> None:
    """Print what a user is told, what it took, and what scoring takes from then on."""
    cpu = time.process_time()
    report = train_fusion(index, path, scorer=kind, target="image")
    cpu = time.process_time() - cpu
    print(f"\n{kind}: {report.seconds:.0f} s, {cpu:.0f} s of processors")
    print(f"  {report.queries:,} queries, {report.held_out:,} held out, helped: {report.helped}")
    print(f"  {report.default} -> {report.learned}, {report.difference}")
    if report.helped:
        print(f"  scoring a query's candidates: {scoring_ms(index, path, kind):.2f} ms (median)")


def scoring_ms(index: Index, path: Path, kind: Learned) -> float:
    """What it takes to score the first candidates of a query, their embeddings included."""
    taken = []
    with index._reader.view() as view:
        real = scoring(view, kind)

    def timed(found: Found) -> Shares:
        started = time.perf_counter()
        scores = real(found)
        taken.append(time.perf_counter() - started)
        return scores

    queries = [judged.query for judged in read_queries(path, None, ()).queries[:TIMED]]
    vectors = embed_many(queries, index.model)
    for number, query in enumerate(queries):
        request = Request((IMAGE,), rerank=kind)
        index._search_embedded(index.model, [query], [vectors[number]], request, timed)
    return 1000 * float(np.median(taken))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    dev = list(enumerate(flickr(arguments.data, "dev")))
    more = flickr(arguments.data, "train")[:250]
    every = [*dev, *enumerate(more, start=len(dev))]
    with TemporaryDirectory() as name:
        folder = Path(name)
        first, second = pairs(folder / "1.jsonl", dev[:HALF]), pairs(folder / "2.jsonl", dev[HALF:])
        with index_of(folder / "dev", model, [photo(n, p, p.texts[0]) for n, p in dev]) as index:
            print("| scorer | nDCG@10 | hit_at_1 | hit_at_10 | gain |\n|---|---|---|---|---|")
            for kind in Learned:
                gained(index, first, second, kind, arguments.seeds)
        items = [photo(n, p, p.texts[0]) for n, p in every]
        with index_of(folder / "every", model, items) as index:
            path = pairs(folder / "every.jsonl", every)
            for kind in Learned:
                trained(index, path, kind)
    print(f"\n{describe()}")


if __name__ == "__main__":
    main()
