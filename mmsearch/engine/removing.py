"""Which items are meant by files, folders and manifests that a user names."""

import os
from collections.abc import Sequence

from mmsearch.engine.inputs import PathLike, absolute, is_below, names
from mmsearch.records import item_key
from mmsearch.store.metadata import Snapshot


def meant_by(snapshot: Snapshot, sources: Sequence[PathLike]) -> tuple[list[int], list[bytes]]:
    """Return the ids of live items, and the keys of failures, that are named or lie below.

    A file that is there is looked up: nothing can lie below it. All else is looked for.
    """
    found, looked_for, roots = set[int](), set[str](), set[str]()
    for source in sources:
        named = {root.rstrip(os.sep) or os.sep for root in names(source)}
        roots |= named
        path = absolute(source)
        item_id = snapshot.item_id(item_key(path))
        if item_id is not None and os.path.isfile(path):
            found.add(item_id)
        else:
            looked_for |= named
    if looked_for:
        found.update(_below(snapshot, looked_for))
    failures = (stored.failure for stored in snapshot.failures())
    keys = [item_key(f.source, f.row) for f in failures if is_below(f.source, roots)]
    return sorted(found), keys


def _below(snapshot: Snapshot, roots: set[str]) -> set[int]:
    paths = {root for root in roots if os.path.isabs(root)}
    prefixes = [os.path.commonprefix([*some]) for some in (paths, roots - paths) if some]
    return {s.id for s in snapshot.items_from(prefixes) if is_below(s.item.source, roots)}
