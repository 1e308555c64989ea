"""Other codes for what is indexed already, for tuning to choose from."""

from collections.abc import Sequence
from dataclasses import replace

from mmsearch.errors import UsageError
from mmsearch.store.maintain import with_codebook
from mmsearch.store.manifest import FieldInfo
from mmsearch.store.recipes import check_recipe, rows_to_train
from mmsearch.store.writer import Writer


def recoded(writer: Writer, recipes: Sequence[str]) -> list[FieldInfo]:
    """Encode the fields that have codes anew, as each recipe says that suits them.

    Args:
        writer: The index's writer; it clears away what it does not commit.
        recipes: FAISS factory strings.

    Raises:
        UsageError: A recipe suits no field, or a budget says how large codes are.
    """
    if recipes and writer.manifest.memory_bytes is not None:
        raise UsageError(
            f"{writer.folder}: has a budget of memory, which says how large codes are: "
            "tune without recipes"
        )
    coded = [info for info in writer.manifest.fields if info.codebook]
    wanted = [
        (info, recipe) for recipe in dict.fromkeys(recipes) for info in _suited(coded, recipe)
    ]
    return [
        with_codebook(writer, replace(info, chosen=recipe), recipe)
        for info, recipe in wanted
        if recipe != info.recipe
    ]


def _suited(fields: Sequence[FieldInfo], recipe: str) -> list[FieldInfo]:
    """Return the fields that a recipe suits: one at least, if there are any."""
    suited, refused = list[FieldInfo](), list[UsageError]()
    for info in fields:
        try:
            check_recipe(recipe, info.dim)
            if info.rows < rows_to_train(recipe):
                raise UsageError(
                    f"recipe {recipe!r}: {info.name} has {info.rows:,} vectors, and it needs "
                    f"{rows_to_train(recipe):,}"
                )
            suited.append(info)
        except UsageError as error:
            refused.append(error)
    if refused and not suited:
        raise refused[0]
    return suited
