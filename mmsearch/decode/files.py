"""Opening files that may be anything, and hashing what a part holds."""

import hashlib
import os
import stat
from io import BufferedReader

from mmsearch.errors import DecodeError, one_line
from mmsearch.records import Part


def open_regular(path: str) -> BufferedReader:
    """Open a regular file for reading; a pipe or a device is never opened.

    Raises:
        DecodeError: It is not a regular file, or cannot be opened.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise DecodeError(f"{one_line(path)}: not a regular file")
        return open(path, "rb")
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:  # a NUL, or a character that no file name holds
        raise DecodeError(f"{one_line(path)}: {error}") from None


def unreadable(path: str, error: OSError) -> DecodeError:
    """What the operating system says about a file, in one line."""
    return DecodeError(f"{one_line(path)}: {error.strerror or type(error).__name__}")


def content_hash(part: Part) -> bytes:
    """SHA-256 of the file's bytes, or of the text in UTF-8: 32 bytes.

    Raises:
        DecodeError: The file cannot be read.
    """
    if part.path is None:
        return hashlib.sha256((part.text or "").encode("utf-8", "surrogatepass")).digest()
    with open_regular(part.path) as file:
        try:
            return hashlib.file_digest(file, "sha256").digest()
        except OSError as error:
            raise unreadable(part.path, error) from None
