"""Python's collector of cycles, out of the way of work that makes none."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Put off the search for cycles to the end of the block; reference counts go on freeing.

    It sets in whenever some objects more have come into being, and looks at all there are: with
    tens of thousands of rows in the making, that is a third of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
