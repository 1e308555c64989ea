"""`Index.reencode`: an index moves to another model beside the old one, then swaps.

The items are encoded into a staging index in a folder of the index, commit by commit, for hours
perhaps, while everybody goes on with the old one. Then, under its writer lock, what has changed
meanwhile is caught up with, and one commit replaces all its records. Killed before that commit, the
index is the old one, and the next run goes on with what is staged; killed after it, the new one.
"""

import shutil
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from mmsearch.encode import Model
from mmsearch.engine.hubs import keep_banks
from mmsearch.engine.ingest import Progress
from mmsearch.engine.report import Report
from mmsearch.engine.staging import Stager
from mmsearch.engine.versions import library_versions
from mmsearch.errors import UsageError
from mmsearch.records import named
from mmsearch.store.adopt import adopt, copy_vectors
from mmsearch.store.lock import WriterLock
from mmsearch.store.manifest import Manifest
from mmsearch.store.reader import Reader
from mmsearch.store.recipes import check_recipe
from mmsearch.store.spare import SPARE
from mmsearch.store.staging import STAGING, STAGING_LOCK, is_swapped, remove_staging
from mmsearch.store.writer import Writer


class Reencoder:
    """One run of `reencode`."""

    def __init__(
        self,
        reader: Reader,
        model: Model,
        *,
        drop_missing: bool,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._reader = reader
        self._folder = reader.folder
        self._model = model
        self._drop_missing = drop_missing
        self._progress = progress

    def run(self) -> Report:
        """Move the index, or go on with it.

        Raises:
            UsageError: The recipe does not fit, or a move to a third model is unfinished.
            IndexLockedError: Another process moves the index, or writes to it when all is encoded.
        """
        started = time.monotonic()
        lock = WriterLock(self._folder, STAGING_LOCK)
        try:
            manifest = self._manifest()
            if is_swapped(self._folder, manifest):
                Writer(self._folder).close()  # ends a move that was killed right after its swap
            if self._model.spaces == manifest.spaces:
                self._rename(manifest)
                return Report(unchanged=manifest.items)
            _refuse_recipe(self._folder, manifest.recipe, self._model)
            if not self._drop_missing:
                _refuse_deaf(self._folder, manifest, self._model)
            report = self._move(manifest)
        finally:
            lock.release()
        report.seconds = time.monotonic() - started
        return report

    def _rename(self, manifest: Manifest) -> None:
        """The same spaces under another name: a folder that was moved, a re-ranker behind them."""
        if self._model.name != manifest.model:
            with closing(Writer(self._folder)) as writer:
                writer.rename_model(self._model.name)

    def _move(self, moved: Manifest) -> Report:
        with Stager(
            self._reader,
            self._open_staging(moved),
            self._model,
            drop_missing=self._drop_missing,
            progress=self._progress,
        ) as stager:
            try:
                self._fill_and_swap(stager)
            except KeyboardInterrupt:
                if self._manifest().spaces != self._model.spaces:
                    stager.stop()
            return stager.report

    def _manifest(self) -> Manifest:
        with self._reader.view() as view:
            return view.manifest

    def _open_staging(self, moved: Manifest) -> Writer:
        folder, model = self._folder / STAGING, self._model
        if not (folder / SPARE).is_file():  # whoever began it was killed before its first commit
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            initial = Manifest(
                model.name,
                model.spaces,
                moved.recipe,
                moved.memory_bytes,
                versions=library_versions(),
            )
            return Writer(folder, initial=initial)
        writer = Writer(folder)
        if writer.manifest.spaces != model.spaces:
            writer.close()
            raise UsageError(
                f"{folder}: an unfinished move to {named(writer.manifest.spaces)}, not to "
                f"{named(model.spaces)}; finish it with that model, or delete this folder"
            )
        return writer

    def _fill_and_swap(self, stager: Stager) -> None:
        stager.catch_up()
        if stager.report.missing:
            return
        with closing(Writer(self._folder)) as writer:  # from here on nobody else changes anything
            stager.catch_up()
            stager.drop_removed()
            if not stager.report.missing:
                self._swap(writer, stager)

    def _swap(self, writer: Writer, stager: Stager) -> None:
        with stager.staged.view() as view:
            adopt(writer, copy_vectors(writer, view, self._model.name), view)
        stager.close()
        remove_staging(self._folder)
        keep_banks(writer, self._model)


def _refuse_deaf(folder: Path, manifest: Manifest, model: Model) -> None:
    """Refuse a model without a modality that the index holds, before any work."""
    lost = {field.name.modality for field in manifest.fields if field.rows}
    lost -= {encoder.modality for encoder in model.encoders}
    if lost:
        raise UsageError(
            f"{folder}: model {model.name!r} has no vectors for {', '.join(sorted(lost))}; choose "
            "another model, or add --drop-missing to leave out what it cannot embed"
        )


def _refuse_recipe(folder: Path, recipe: str | None, model: Model) -> None:
    """Refuse a model whose vectors the index's recipe does not fit, before any work.

    Raises:
        UsageError: It does not.
    """
    if recipe is None:
        return
    try:
        for space in model.spaces:
            check_recipe(recipe, space.dim)
    except UsageError as error:
        raise UsageError(
            f"{folder}: made with a recipe that model {model.name!r} cannot have ({error}); "
            "index the sources into a new folder"
        ) from None
