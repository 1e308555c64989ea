"""Other codes for what is indexed already, for tuning to choose from."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mmsearch.errors import UsageError
from mmsearch.store.maintain import with_codebook
from mmsearch.store.manifest import FieldInfo
from mmsearch.store.recipes import check_recipe, form_of, rows_to_train
from mmsearch.store.writer import Writer


def recoded(writer: Writer, recipes: Sequence[str]) -> list[FieldInfo]:
    """Encode the fields that have codes anew, as each recipe says; nothing is committed.

    Args:
        writer: The index's writer. What it does not commit, the next commit clears away.
        recipes: FAISS factory strings.

    Raises:
        UsageError: A recipe does not fit a field, or a budget says how large codes are.
    """
    if recipes and writer.manifest.memory_bytes is not None:
        raise UsageError(
            f"{writer.folder}: has a budget of memory, which says how large codes are: "
            "tune without recipes"
        )
    wanted = list(_wanted(writer, recipes))
    return [
        replace(with_codebook(writer, info, recipe), form=form_of(recipe))
        for info, recipe in wanted
    ]


def _wanted(writer: Writer, recipes: Sequence[str]) -> Iterator[tuple[FieldInfo, str]]:
    for info in writer.manifest.fields:
        for recipe in recipes if info.codebook else ():
            check_recipe(recipe, info.dim)
            if info.rows < rows_to_train(recipe):
                raise UsageError(
                    f"recipe {recipe!r}: {info.name} has {info.rows:,} vectors, and it needs "
                    f"{rows_to_train(recipe):,}"
                )
            if recipe != info.recipe:
                yield info, recipe
