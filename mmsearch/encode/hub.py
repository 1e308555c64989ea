"""Checkpoint files of the Hugging Face hub: from the local cache, else downloaded once.

The libraries ask the hub first and the cache afterwards, and without a network they retry for
45 seconds; here the cache comes first, and one short question tells whether the hub answers.
"""

import queue
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

from mmsearch.encode.torch_ import one_line
from mmsearch.errors import ModelError

T = TypeVar("T")

TIMEOUT_S = 3.0
"""Until the hub counts as out of reach: with what is imported first, less than 5 s."""

TOKENIZER = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
)
"""Files that hold a vocabulary; a tokenizer needs one of them."""

TOKENIZER_EXTRAS = (
    *TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "config.json",
)
"""Files that a tokenizer reads where they exist."""


def first_file(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first of the names that is a file in the folder."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def lacking(group: Sequence[str], present: Collection[str]) -> str:
    """Say that none of some files is there, and what to do if there are pieces of one."""
    if any(f"{name}.index.json" in present for name in group):
        return (
            "its weights are in several files; load it with transformers and save it with "
            "save_pretrained(FOLDER, max_shard_size='1TB')"
        )
    return f"it has no {' or '.join(group)}"


def hub_folder(
    repo_id: str, needed: Sequence[Sequence[str]], extras: Sequence[str] = (), *, instead: str
) -> Path:
    """Return the folder of the local cache that holds a repository's files.

    Args:
        repo_id: OWNER/NAME.
        needed: Groups of file names; one file of each group is needed, the first is preferred.
        extras: Files to download with them where they exist.
        instead: Names of models that take files of the user's own, for the error.

    Raises:
        ModelError: They are not in the cache and cannot be downloaded.
    """
    return _cached_folder(repo_id, needed) or _download(repo_id, needed, extras, instead)


def _cached_folder(repo_id: str, needed: Sequence[Sequence[str]]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    for name in needed[0]:
        path = try_to_load_from_cache(repo_id, name)
        if isinstance(path, str):
            folder = Path(path).parent
            return folder if all(first_file(folder, group) for group in needed) else None
    return None


def _download(
    repo_id: str, needed: Sequence[Sequence[str]], extras: Sequence[str], instead: str
) -> Path:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        # The library's own limit comes later, so that it is always we who say what happened.
        about = _within(TIMEOUT_S, lambda: HfApi().model_info(repo_id, timeout=2 * TIMEOUT_S))
        siblings = about.siblings or []
        wanted = _choose(repo_id, needed, {sibling.rfilename for sibling in siblings})
        return Path(snapshot_download(repo_id, allow_patterns=[*wanted, *extras]))
    except ModelError:
        raise
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"the Hugging Face hub shows no model {repo_id}: check the name; if it is private or"
            " gated, log in with 'hf auth login'"
        ) from error
    except Exception as error:  # the HTTP library's errors; which one it is varies with the version
        raise ModelError(
            f"{repo_id} is not in the local cache and cannot be downloaded ({one_line(error)}):"
            f" {_lack_in_cache(repo_id, needed)}; connect to the internet once, or copy its files"
            f" to this machine and name {instead}"
        ) from error


def _lack_in_cache(repo_id: str, needed: Sequence[Sequence[str]]) -> str:
    """Say which files are looked for in the cache, and where."""
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type="model")
    missing = [
        " or ".join(group if len(group) < 3 else (group[0], "the like"))
        for group in needed
        if not any(isinstance(try_to_load_from_cache(repo_id, name), str) for name in group)
    ]
    return f"{folder} lacks {', '.join(missing)}"


def _within(seconds: float, ask: Callable[[], T]) -> T:
    """Return an answer, or raise TimeoutError when it takes longer.

    The library's own limit holds for each address of a host and for each of its questions.
    """
    answers: queue.Queue[T | BaseException] = queue.Queue()

    def work() -> None:
        try:
            answers.put(ask())
        except BaseException as error:  # raised below, where the answer is waited for
            answers.put(error)

    threading.Thread(target=work, name="mmsearch-hub", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _choose(repo_id: str, needed: Sequence[Sequence[str]], present: set[str]) -> list[str]:
    wanted = [next((name for name in group if name in present), None) for group in needed]
    missing = [group for group, name in zip(needed, wanted, strict=True) if name is None]
    if missing:
        raise ModelError(f"{repo_id} is not such a checkpoint: {lacking(missing[0], present)}")
    return [name for name in wanted if name is not None]
