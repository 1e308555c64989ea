"""The main flow of a plot: embeddings -> plane -> colours -> file."""

import os
from pathlib import Path

from mmsearch.engine.embeddings import Embeddings
from mmsearch.errors import one_line
from mmsearch.present.plot.color import MODALITY, color_by
from mmsearch.present.plot.page import page_html
from mmsearch.present.plot.project import Method, Projection, project
from mmsearch.present.plot.scatter import scatter_png
from mmsearch.present.standalone import check_target, write_whole


def plot(
    embeddings: Embeddings,
    out: str | os.PathLike[str],
    *,
    method: str = Method.PCA,
    color: str = MODALITY,
    seed: int = 0,
) -> None:
    """Draw embeddings in two dimensions.

    Texts, pictures and sounds of one space usually lie apart (Liang et al. 2022, arXiv
    2203.02053); that gap is drawn as it is.

    Args:
        embeddings: What ``Index.embeddings`` returns.
        out: A ``.png``, or an ``.html`` page that stands alone and shows names, texts and
            thumbnails under the pointer; replaced if it exists.
        method: ``pca`` or ``umap``.
        color: ``modality``, or the column that colours the points.
        seed: Where UMAP's random choices start.

    Raises:
        UsageError: An argument is wrong.
        MMSearchError: A library is not installed, or the file cannot be written.
    """
    target = Path(out)
    check_target(target, (".png", ".html"))
    coloring = color_by(embeddings.chunks, color)
    projection = project(embeddings.vectors, method, seed)
    title, subtitle = _title(embeddings), _subtitle(embeddings, projection)
    if target.suffix.lower() == ".png":
        content = scatter_png(projection, coloring, title, subtitle)
    else:
        content = page_html(embeddings.chunks, projection, coloring, title, subtitle).encode()
    write_whole(target, content)


def _title(embeddings: Embeddings) -> str:
    return one_line(embeddings.index.resolve().name)


def _subtitle(embeddings: Embeddings, projection: Projection) -> str:
    count = len(embeddings.chunks)
    some = f"{count:,} of {embeddings.total:,}" if count < embeddings.total else f"{count:,}"
    return f"{some} vectors of space {one_line(embeddings.space)} · {projection.summary}"
