"""Taking over what another index holds, in place of all there is: how a move to a model ends.

Items get new ids behind those that have been given out, so their vectors are copied: the rows of a
segment carry ids. The copies are named by no commit until the one that replaces every record.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mmsearch.store.maintain import without_items
from mmsearch.store.manifest import Manifest
from mmsearch.store.metadata import CHUNK_BITS, Adopted
from mmsearch.store.reader import View
from mmsearch.store.writer import Writer


def copy_vectors(writer: Writer, source: View, model: str) -> Manifest:
    """Write the live vectors of another index into segments of this one.

    Args:
        writer: The index's writer.
        source: The other index.
        model: What its model is called now: its folder may have moved since the index was begun.

    Returns:
        The manifest that :func:`adopt` commits.
    """
    first = writer.manifest.next_item_id - 1
    dead = source.snapshot.tombstones()
    fields = without_items(writer, source.state.fields.values(), dead, first << CHUNK_BITS)
    return replace(
        source.manifest,
        model=model,
        commit=writer.manifest.commit + 1,
        next_item_id=first + source.manifest.next_item_id,
        next_file=writer.manifest.next_file,
        fields=tuple(fields),
    )


def adopt(writer: Writer, manifest: Manifest, source: View) -> None:
    """Replace everything in an index by what another one holds, in one commit.

    Args:
        writer: The index's writer, the one that copied the vectors.
        manifest: What :func:`copy_vectors` returned.
        source: The other index, at the same commit.
    """
    first = writer.manifest.next_item_id - 1
    retired = writer.replace_items(manifest, lambda: _renumbered(source, first))
    writer.replace_fields((), cleared=np.array(retired, np.int64))


def _renumbered(source: View, first: int) -> Iterator[Adopted]:
    for stored in source.snapshot.items():
        texts = {
            chunk_id + (first << CHUNK_BITS): text
            for chunk_id in stored.passage_ids()
            if (text := source.snapshot.passage(chunk_id)) is not None
        }
        yield Adopted(replace(stored, item=replace(stored.item, id=first + stored.id)), texts)
