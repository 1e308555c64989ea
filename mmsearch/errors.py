"""The error tree: every error names the value at fault and says what to do.

MMSearchError
├── UsageError            a wrong argument: the command line exits with 2, everything else with 1
├── DecodeError           a file that cannot be turned into a picture, a sound or a text
├── ModelError            a model that is unknown, missing, or not the one the index was made with
├── IndexNotFoundError    no index at that path
├── IndexLockedError      another process is writing to the index
├── IndexFormatError      an index written by a newer version
├── DamagedIndexError     what was read back is not what was written
├── DeviceError           a GPU that cannot do what it is asked to
└── TrainingError         a training that cannot go on
"""


class MMSearchError(Exception):
    """Base class of every error that mmsearch raises on purpose."""


class UsageError(MMSearchError, ValueError):
    """An argument is wrong, on its own or for this index."""


class DecodeError(MMSearchError):
    """A file, or a part of one, cannot be decoded."""


class ModelError(MMSearchError):
    """A model cannot be found or loaded, or does not fit the index."""


class IndexNotFoundError(MMSearchError):
    """There is no index at the given path."""


class IndexLockedError(MMSearchError):
    """Another process holds the index's writer lock."""


class IndexFormatError(MMSearchError):
    """The index was written in a format that this version cannot read."""


class DamagedIndexError(MMSearchError):
    """Something read back from an index fails its checksum or is missing."""


class DeviceError(MMSearchError):
    """A GPU cannot do what it is asked to."""


class TrainingError(MMSearchError):
    """A training cannot start or go on with what it was given."""


def one_line(text: str) -> str:
    """Return a name or value as a message shows it: whatever cannot be printed is escaped.

    File names may hold line breaks, terminal codes and bytes that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )
