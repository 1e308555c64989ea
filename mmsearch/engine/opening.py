"""Making, opening, checking and repairing indexes by their path."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.config import parse_size
from mmsearch.encode import Model, load_model
from mmsearch.engine.index import Index
from mmsearch.engine.info import IndexInfo
from mmsearch.engine.inputs import PathLike
from mmsearch.engine.opened import device_of
from mmsearch.engine.versions import library_versions
from mmsearch.errors import IndexNotFoundError, ModelError, UsageError
from mmsearch.store.manifest import Manifest
from mmsearch.store.recipes import check_recipe
from mmsearch.store.repair import repair_index
from mmsearch.store.verify import Damage, verify_index
from mmsearch.store.writer import Writer

if TYPE_CHECKING:
    from mmsearch.sources.vectors import Shard

DEFAULT_MODEL = "mini"


def create(
    path: PathLike,
    *,
    model: str | Model = DEFAULT_MODEL,
    recipe: str | None = None,
    memory: str | int | None = None,
    device: str | None = None,
    precision: str | None = None,
    compile: bool = False,
    search_device: str | None = None,
) -> Index:
    """Make a new, empty index.

    Args:
        path: A folder that does not hold an index yet; it is made.
        model: A model's name, or a model of your own encoders.
        recipe: FAISS factory string for all fields; chosen by size by default.
        memory: A budget for the codes of all fields in memory while searching, such as ``"2GB"``,
            instead of a recipe: they are as large as fits (docs/indexing.md).
        device: What a named model runs on; a GPU if there is one by default.
        precision: ``fp32`` or ``bf16``, of a named model; bf16 on a GPU by default.
        compile: Whether ``torch.compile`` makes a named model's networks faster, a minute or more
            for each: for long runs on a GPU.
        search_device: See :func:`open_index`.

    Raises:
        UsageError: There is an index already, the recipe does not fit the model, the budget is no
            size, or there is no such device.
        ModelError: The model cannot be loaded.
    """
    folder = Path(path)
    if _is_index(folder):
        raise UsageError(f"{folder}: there is an index here already; open it")
    budget = None if memory is None else parse_size(memory)
    if recipe and budget:
        raise UsageError("recipe and memory: give one; a recipe says how large codes are")
    device_of(search_device)
    loaded = load_model(model, device, precision, compile) if isinstance(model, str) else model
    if recipe:
        for space in loaded.spaces:
            check_recipe(recipe, space.dim)
    manifest = Manifest(loaded.name, loaded.spaces, recipe, budget, versions=library_versions())
    folder.mkdir(parents=True, exist_ok=True)
    Writer(folder, initial=manifest).close()
    return open_index(folder, model=loaded, search_device=search_device)


def open_index(
    path: PathLike,
    *,
    model: Model | None = None,
    device: str | None = None,
    precision: str | None = None,
    compile: bool = False,
    search_device: str | None = None,
    map_codes: bool = False,
) -> Index:
    """Open an index.

    Args:
        path: Its folder.
        model: The model, where its name does not load it.
        device: What the model runs on; a GPU if there is one by default.
        precision: ``fp32`` or ``bf16``; bf16 on a GPU by default.
        compile: See :func:`create`.
        search_device: Where vectors are compared, such as ``cuda``: fields that have room in its
            memory, 2 bytes a dimension, are copied there when first searched, and searched
            exactly, larger ones by their codes; adding, ``compact`` and ``tune`` with recipes train
            lists there and give rows to them. By default the CPU, through FAISS.
        map_codes: Whether the codes of approximate search stay on disk and are read as lists are
            looked into, for indexes whose codes have no room in memory (docs/indexing.md).

    Raises:
        UsageError: There is no such device.
        IndexNotFoundError: There is none.
        IndexFormatError: A newer version of mmsearch wrote it.
        DamagedIndexError: It is damaged.
    """
    index = Index(
        path,
        model,
        device=device,
        precision=precision,
        compile=compile,
        search_device=search_device,
        map_codes=map_codes,
    )
    try:
        index.info()
    except BaseException:
        index.close()
        raise
    return index


def open_or_create(
    path: PathLike,
    *,
    model: str | None = None,
    recipe: str | None = None,
    memory: str | int | None = None,
    device: str | None = None,
    precision: str | None = None,
    compile: bool = False,
    search_device: str | None = None,
) -> Index:
    """Open an index, or make it where there is none.

    Raises:
        UsageError: There is one, made with another model, recipe or budget than asked
            for.
    """
    folder = Path(path)
    if not _is_index(folder):
        name = model or DEFAULT_MODEL
        return create(
            folder,
            model=name,
            recipe=recipe,
            memory=memory,
            device=device,
            precision=precision,
            compile=compile,
            search_device=search_device,
        )
    index = open_index(
        folder, device=device, precision=precision, compile=compile, search_device=search_device
    )
    try:
        _refuse_other(index.info(), model, recipe, memory)
    except BaseException:
        index.close()
        raise
    return index


def open_for_vectors(
    path: PathLike,
    shards: "Sequence[Shard]",
    *,
    model: str | None = None,
    recipe: str | None = None,
    memory: str | int | None = None,
    search_device: str | None = None,
) -> Index:
    """Open an index that vectors made elsewhere are to go to, or make it for their model.

    Raises:
        UsageError: There is none and no model is named, the vectors do not fit the model, or there
            is one, made with another model or recipe than asked for.
    """
    from mmsearch.engine.fitting import check_shards  # here: no query is to wait for it

    folder = Path(path)
    if not _is_index(folder):
        if model is None:
            raise UsageError(
                f"{folder}: a new index needs --model, the model that made the vectors: queries "
                "are embedded with it (see `mmsearch models`)"
            )
        loaded = load_model(model)
        check_shards(shards, loaded)
        return create(
            folder, model=loaded, recipe=recipe, memory=memory, search_device=search_device
        )
    index = open_or_create(
        folder, model=model, recipe=recipe, memory=memory, search_device=search_device
    )
    try:
        check_shards(shards, index.model)
    except BaseException:
        index.close()
        raise
    return index


def _refuse_other(
    info: IndexInfo, model: str | None, recipe: str | None, memory: str | int | None
) -> None:
    if model and model != info.model and load_model(model).name != info.model:
        raise ModelError(f"{info.path}: made with model {info.model!r}, not {model!r}; use --index")
    if recipe and recipe != info.asked_recipe:
        raise UsageError(f"{info.path}: made with recipe {info.asked_recipe}; use --index")
    if memory and parse_size(memory) != info.memory_bytes:
        budget = f"{info.memory_bytes:,} bytes" if info.memory_bytes else "no limit"
        raise UsageError(f"{info.path}: made with {budget} of memory; use --index")


def verify(path: PathLike) -> list[Damage]:
    """Check every file and record of an index; returns what is damaged.

    Raises:
        IndexLockedError: A process is writing to it.
    """
    return verify_index(Path(path))


def repair(path: PathLike) -> list[str]:
    """Rebuild what can be rebuilt of a damaged index; returns what was done, a line each.

    Items that cannot be restored are dropped and named; adding their sources again restores them.

    Raises:
        IndexLockedError: A process is writing to it.
        DamagedIndexError: Nothing can be rebuilt.
    """
    return repair_index(Path(path))


def _is_index(folder: Path) -> bool:
    try:
        open_index(folder).close()
    except IndexNotFoundError:
        return False
    return True
