"""Versions of the libraries whose results an index holds."""

_LIBRARIES = (
    "mmsearch",
    "faiss-gpu",
    "faiss-cpu",
    "lmdb",
    "numpy",
    "open_clip_torch",
    "torch",
    "transformers",
)


def library_versions() -> dict[str, str]:
    """Return name and version of each library that is installed."""
    from importlib.metadata import PackageNotFoundError, version  # a query need not wait for it

    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
