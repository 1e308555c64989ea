"""Keeping libraries from printing about the files that they decode."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_pillow() -> Iterator[None]:
    """Drop Pillow's warnings about odd metadata while files are decoded.

    Enter it once, around all decoding threads, and not in each: before Python 3.14 the warning
    filters belong to the process, and threads that restore them would overwrite each other.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


@contextmanager
def quiet_native_libraries() -> Iterator[None]:
    """Drop what C libraries print to file descriptor 2; ``sys.stderr`` still works.

    libtiff and libmpg123 print about damaged files and offer no switch that Pillow or libsndfile
    would pass on. The descriptor belongs to the process, so this is for programs, around
    everything that decodes. Streams that were made earlier from descriptor 2 go silent too.
    """
    try:
        fileno = sys.stderr.fileno()
    except (AttributeError, OSError):  # none, or a notebook's: not on the descriptor anyway
        fileno = -1
    if fileno != 2:
        yield
        return
    python_stderr = sys.stderr
    python_stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    try:
        encoding, errors = python_stderr.encoding, python_stderr.errors
        with open(kept, "w", 1, encoding, errors, closefd=False) as sys.stderr:
            yield
    finally:
        sys.stderr = python_stderr
        os.dup2(kept, 2)
        os.close(kept)
