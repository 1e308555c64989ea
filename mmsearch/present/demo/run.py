"""The demo: index what comes along, search it in every direction, write a gallery."""

from collections.abc import Iterator
from pathlib import Path

from mmsearch.engine.opening import open_or_create
from mmsearch.present.demo import DemoQuery, demo_queries, write_demo_data
from mmsearch.present.gallery import Search, write_gallery
from mmsearch.present.table import hits_lines
from mmsearch.records import Hit

_HITS = 4


def run_demo(folder: Path) -> Iterator[str]:
    """Run the demo in a folder, and tell what happens line by line.

    Args:
        folder: Gets the files, the index and ``gallery.html``; made if it is not there.

    Raises:
        MMSearchError: The ``demo`` extra is not installed, or the folder cannot be written to.
    """
    sources = write_demo_data(folder)
    with open_or_create(folder / "index") as index:
        report = index.add(sources, text_columns=["caption"], prune=True)
        yield f"indexed {index.info().items} items in {report.seconds:.1f} s"
        searches = []
        for query in demo_queries(folder):
            hits = index.search(**query.arguments, k=_HITS)
            searches.append(Search(query.arguments, hits, query.title))
            yield from _lines(query, hits)
    gallery = folder / "gallery.html"
    write_gallery(gallery, searches, "mmsearch demo")
    yield f"\nwrote {gallery}: open it in a browser"


def _lines(query: DemoQuery, hits: list[Hit]) -> Iterator[str]:
    asked = (
        f'"{value}"' if name == "text" else Path(value).name
        for name, value in query.arguments.items()
        if name != "target"
    )
    yield f"\n{query.title}: {' + '.join(asked)}"
    for line in hits_lines(hits):
        rank, score, _, _, path, text = line.split("\t")
        yield f"  {rank}. {score}  {Path(path).name}  {text[:60]}".rstrip()
