"""What logistic regressions make of the first 500 photos of Flickr8k's dev split.

Run: ``python benchmarks/ranking_fit.py [--model DIR] [--data DIR]``; prints the constants of
`mmsearch/search/evidence.py` and `mmsearch/fuse/relevance.py` that those photos would choose.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray
from ranking import (
    HALF,
    IMAGE,
    TEXT,
    Asked,
    caption,
    captions,
    index_of,
    options,
    outcomes,
    photo,
    photos,
    search,
)

from mmsearch import Hit, Modality, Model, load_model
from mmsearch.fuse.relevance import MOST_PER_RELEVANT
from mmsearch.metrics import Values
from mmsearch.search.evidence import Line, line
from mmsearch.search.hubs import HubCorrection
from mmsearch.train.mini.data import Picture, flickr


def fitted(values: Values, right: NDArray[np.bool_]) -> Line:
    """A logistic regression of one variable by Newton's method."""
    rows, weights = np.stack([np.ones_like(values), values], axis=1), np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-rows @ weights))
        hessian = (rows * (p * (1 - p))[:, None]).T @ rows + 1e-6 * np.eye(2)
        weights -= np.linalg.solve(hessian, rows.T @ (p - right))
    return Line(*weights.tolist())


def fit(folder: Path, model: Model, dev: Sequence[Picture]) -> None:
    """Print the constants that the first half would have chosen."""
    tune, other = dev[:HALF], dev[HALF:]
    gallery = [photo(n, picture) for n, picture in enumerate(tune)]
    texts = [caption(f"c{n}.0", p.texts[0]) for n, p in enumerate(tune)]
    every = [caption(f"c{n}.{m}", t) for n, p in enumerate(tune) for m, t in enumerate(p.texts)]
    pictures = [photo(HALF + n, picture) for n, picture in enumerate(other)]
    asked = captions(tune)
    with index_of(folder / "fit0", model, gallery) as index:
        for hubs in HubCorrection:
            found = search(index, asked, target=IMAGE, hubs=hubs)
            told(f"text->image, {hubs}", found, asked, (TEXT,), IMAGE, len(gallery))
    asked = captions(tune, relevant="c{}.0", first=1)
    with index_of(folder / "fit1", model, texts) as index:
        found = search(index, asked, target=TEXT, rerank="none")
        told("text->text", found, asked, (TEXT,), TEXT, len(texts))
    asked = photos(tune)
    with index_of(folder / "fit2", model, [*every, *pictures]) as index:
        for hubs in HubCorrection:
            found = search(index, asked, target=TEXT, hubs=hubs)
            told(f"image->text, {hubs}", found, asked, (IMAGE,), TEXT, len(every))
    asked = captions(tune, first=1)
    for kind, items in (
        ("captions", [photo(n, picture, picture.texts[0]) for n, picture in enumerate(tune)]),
        ("titles", [photo(n, picture, title=picture.texts[0]) for n, picture in enumerate(tune)]),
    ):
        with index_of(folder / kind, model, items) as index:
            found = [hits[:10] for hits in search(index, asked, target=IMAGE)]
        scores = np.array([hit.score for hits in found for hit in hits]) - np.log(HALF)
        right = outcomes(found, asked.relevant)[1]
        print(f"relevance where words are found in {kind}: {fitted(scores, right)}")


def told(
    title: str,
    found: Sequence[Sequence[Hit]],
    asked: Asked,
    kind: Sequence[Modality],
    searched: Modality,
    gallery: int,
) -> None:
    """Print how evidence rises with a standing, and relevance with evidence."""
    used = line(kind, searched)
    scores = np.array([hit.score for hits in found for hit in hits])
    right = np.array(
        [h.item.source in r for hits, r in zip(found, asked.relevant, strict=True) for h in hits]
    )
    offset, slope = fitted((scores - used.offset) / used.slope, right)
    print(f"{title}: Line({offset + np.log(gallery):.2f}, {slope:.2f})")
    first = [hits[:10] for hits in found]
    prior = np.log(min(gallery, MOST_PER_RELEVANT))
    ten = np.array([hit.score for hits in first for hit in hits]) - prior
    print(f"  relevance of its first ten: {fitted(ten, outcomes(first, asked.relevant)[1])}")


def main() -> None:
    """Fit and print."""
    arguments = options(__doc__)
    model = load_model(arguments.model)
    with TemporaryDirectory() as name:
        fit(Path(name), model, flickr(arguments.data, "dev"))


if __name__ == "__main__":
    main()
