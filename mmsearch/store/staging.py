"""The index that grows in a folder of another one while that moves to another model.

Whoever fills it holds ``reencode.lock`` of the index around it; that index stays free for readers
and writers. Once the index around it has its model, it is of no use: the next writer removes it.
"""

import shutil
from pathlib import Path

from mmsearch.store.manifest import Manifest
from mmsearch.store.spare import SPARE, sound_spare

STAGING = "reencode"
STAGING_LOCK = "reencode.lock"


def is_swapped(folder: Path, manifest: Manifest) -> bool:
    """Whether an index has taken over all that its staging index holds."""
    staged = sound_spare(folder / STAGING)
    return staged is not None and staged.spaces == manifest.spaces


def remove_staging(folder: Path) -> None:
    """Remove the staging index; its manifest goes last, so that a killed removal is gone on with.

    The caller is the writer of the index around it.
    """
    for path in (folder / STAGING).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != SPARE:
            path.unlink()
    shutil.rmtree(folder / STAGING)
