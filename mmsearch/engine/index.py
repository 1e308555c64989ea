"""The index as its users see it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from types import MappingProxyType
from typing import TYPE_CHECKING, Unpack

from numpy.typing import ArrayLike

from mmsearch.encode import Model
from mmsearch.engine.add import Adder
from mmsearch.engine.embedding import Failed, refuse
from mmsearch.engine.embeddings import Embeddings, Wanted, sample
from mmsearch.engine.given import given, given_queries
from mmsearch.engine.info import IndexInfo, describe
from mmsearch.engine.ingest import Progress
from mmsearch.engine.inputs import (
    PathLike,
    absolute,
    find_sources,
    listed,
    modalities,
    names,
)
from mmsearch.engine.opened import Opened
from mmsearch.engine.query import Exclusions, ImageLike, Query, SoundLike, sentences
from mmsearch.engine.reencode import Reencoder
from mmsearch.engine.removing import meant_by
from mmsearch.engine.report import Report
from mmsearch.engine.request import SearchOptions, request_of
from mmsearch.errors import UsageError
from mmsearch.records import FieldName, FloatArray, Hit, Item, Modality, item_key
from mmsearch.store.maintain import compact, settle
from mmsearch.store.repair import repair_index
from mmsearch.store.verify import Damage, verify_index
from mmsearch.store.writer import Batch

if TYPE_CHECKING:
    from mmsearch.engine.heat_map import HeatMap
    from mmsearch.engine.tuning import Tuned


class Index(Opened):
    """A folder of vectors and metadata that can be added to and searched; a context manager.

    Searching is thread-safe and sees every commit as soon as it is made, also by other processes.
    """

    def add(
        self,
        sources: PathLike | Iterable[PathLike] | Iterable[Item],
        *,
        text_columns: Sequence[str] = (),
        prune: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Index files, folders, manifests or items; what is up to date is skipped.

        Commits every 1,000 items or 10 s. Ctrl-C commits what is finished and returns.

        Args:
            sources: A path, paths, or items.
            text_columns: Columns of manifests that become text parts.
            prune: Remove items below the given paths whose source has vanished.
            progress: Called after each item.

        Raises:
            UsageError: A path does not exist.
            IndexLockedError: Another process is writing to the index.
            ModelError: The model is not the one the index was made with.
        """
        found, roots = find_sources(sources, text_columns)
        with closing(self._open_writer()) as writer:
            self._refuse_moved(writer.manifest, self.model)
            adder = Adder(self._reader, writer, self.model, progress)
            return adder.run(found, roots, prune)

    def add_vectors(
        self,
        sources: PathLike | Iterable[PathLike],
        *,
        modality: Modality | str = Modality.IMAGE,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Take in embeddings that the index's model has made elsewhere; docs/vectors.md.

        Rows of files that are unchanged are skipped. Commits every 25,000 rows; Ctrl-C keeps what
        is committed and returns.

        Args:
            sources: Folders as clip-retrieval writes them; .npy, .npz and .parquet files.
            modality: What the vectors of a single file stand for; folders say it.
            progress: Called after each commit.

        Raises:
            UsageError: A source is no such thing, or its vectors do not fit the model.
            IndexLockedError: Another process is writing to the index.
            ModelError: The model is not the one the index was made with.
        """
        from mmsearch.engine.importing import Importer  # here: no query is to wait for it
        from mmsearch.sources.vectors import find_vectors

        kinds = modalities(modality) or ()
        if len(kinds) != 1:
            raise UsageError("vectors of a file stand for one modality; name it")
        shards = {path: find_vectors(path, kinds[0]) for path in map(absolute, listed(sources))}
        with closing(self._open_writer()) as writer:
            self._refuse_moved(writer.manifest, self.model)
            return Importer(self._reader, writer, self.model, progress).run(shards)

    def export(
        self,
        target: PathLike,
        *,
        modality: Modality | str | None = None,
        space: str | None = None,
    ) -> int:
        """Write the vectors of one field with what they stand for; ``add_vectors`` reads it.

        Args:
            target: A folder to make, in the form that clip-retrieval writes, or a .parquet file.
            modality: Of the field; needed where the index holds several.
            space: Of the field; needed where texts have vectors in two.

        Returns:
            How many vectors were written.

        Raises:
            UsageError: The target is there already, or there is no such field, or several.
        """
        from mmsearch.engine.exporting import export  # here: no query is to wait for it

        wanted = modalities(modality)
        with self._reader.view() as view:
            return export(view, absolute(target), wanted[0] if wanted else None, space)

    def reencode(
        self,
        model: str | Model | None = None,
        *,
        drop_missing: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Move the index to another model, from its items' own sources.

        The index can be searched and added to with its old model meanwhile; the move is one commit
        at the end. Ctrl-C keeps what is finished, and the next call with the same model goes on.

        Args:
            model: A model's name, or a model of your own encoders; by default the one that the
                index was opened with, else what is installed under the name of the index's model.
            drop_missing: Leave out what cannot be read any more, or not be embedded by the model.
            progress: Called after each item.

        Returns:
            How many items were encoded (``updated``) or had been before (``unchanged``), and how
            many are ``missing``, with the reasons in ``failures``: then the index has not moved.

        Raises:
            UsageError: The index's recipe does not fit the model, or a move to another model is
                unfinished.
            IndexLockedError: Another process is writing to the index.
            ModelError: The model cannot be loaded.
        """
        model = model or self._given_model or self._manifest().model
        loaded = self._load_model(model) if isinstance(model, str) else model
        run = Reencoder(self._reader, loaded, drop_missing=drop_missing, progress=progress)
        report = run.run()
        if self._manifest().spaces == loaded.spaces:
            self._given_model = self.model = loaded
        return report

    def search(
        self,
        text: str | None = None,
        *,
        image: ImageLike | Sequence[ImageLike] | None = None,
        audio: SoundLike | Sequence[SoundLike] | None = None,
        vector: ArrayLike | None = None,
        space: str | None = None,
        exclude: Exclusions = (),
        weights: Mapping[str, float] = MappingProxyType({}),
        templates: str | Sequence[str] = (),
        **options: Unpack[SearchOptions],
    ) -> list[Hit]:
        """Find the items that fit a query best.

        Args:
            text: Words.
            image: A picture, a path or an RGB picture of Pillow's; or several.
            audio: A sound, a path or samples; or several.
            vector: (dim,) numbers, what the model has embedded elsewhere; of any length but zero.
            space: The vector's space, where the model has several.
            exclude: What is not wanted: a text, several, or texts with what each counts (0.5).
            weights: By modality what its part of the query counts, 1 by default.
            templates: Sentences with ``{}`` where the words go; what they say is averaged.
            options: What is to be found, and how many: :class:`mmsearch.SearchOptions`.

        Returns:
            Up to k hits, best first; fewer where there are no more, or none as relevant.

        Raises:
            UsageError: An empty query, a modality that nothing was indexed for, a bad ``where``, a
                vector that is not of the model's.
            DecodeError: A query file cannot be decoded.
            DamagedIndexError: What was read is not what was written.
        """
        if space and vector is None:
            raise UsageError("space is that of a vector; give one")
        vectors = {} if vector is None else given([vector], space, self.model)[0]
        query = Query(text, image, audio, sentences(templates), vectors, exclude, weights)
        return self._search([query], request_of(options))[0]

    def search_many(
        self,
        queries: Sequence[str | Query] | None = None,
        *,
        vectors: ArrayLike | None = None,
        space: str | None = None,
        templates: str | Sequence[str] = (),
        failed: Failed | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[list[Hit]]:
        """Search for each of many queries or vectors, encoded together and searched on all cores.

        Each is answered from one commit, not all from the same one.

        Args:
            queries: Texts, and queries of any modalities.
            vectors: (n, dim) numbers instead, what the model has embedded elsewhere.
            space: The vectors' space, where the model has several.
            templates: Sentences around the words of texts; a query has its own.
            failed: Called with the number of each query that cannot be decoded, and why: it finds
                nothing. By default the first such error is raised.
            options: As for :meth:`search`.

        Returns:
            For each query or vector what :meth:`search` returns.
        """
        asked = given_queries(queries, vectors, space, templates, self.model)
        return self._search(asked, request_of(options), failed or refuse)

    def heat_maps(
        self, hits: Sequence[Hit], query: str | Query, *, failed: Failed | None = None
    ) -> "list[HeatMap | None]":
        """Show what of the pictures of hits fits a query (docs/ranking.md); they are read again.

        Args:
            hits: Of this index.
            query: A text, or a query of any modalities.
            failed: Called with the place in ``hits`` of each whose picture cannot be read any more,
                and why; by default the first such error is raised.

        Returns:
            For each hit the map of the picture that matched, or of the item's own where another
            part matched; None where there is none.

        Raises:
            UsageError: The query has a vector, or shares no space with pictures.
            ModelError: The model gives no heat maps.
            DecodeError: A file of the query cannot be decoded, or the picture of a hit.
        """
        from mmsearch.engine.heat import heat_maps  # here: no query is to wait for it

        def held(name: FieldName) -> FloatArray | None:
            with self._reader.view() as view:
                self._refuse_moved(view.manifest, self.model)
                return view.background(name).vectors if name in view.state.fields else None

        asked = query if isinstance(query, Query) else Query(query)
        return heat_maps(self.model, hits, asked, held, failed or refuse)

    def embeddings(
        self, *, space: str | None = None, limit: int = 5_000, where: str | None = None
    ) -> Embeddings:
        """Return vectors of one space and what they stand for; ``mmsearch.plot`` draws them.

        Args:
            space: Its name; by default the space with most vectors.
            limit: How many; where there are more, they are evenly spaced over all, so that each
                modality keeps its share.
            where: Expression over columns that items must satisfy (docs/where.md).

        Raises:
            UsageError: No such space, no vectors, or a bad ``where``.
        """
        wanted = Wanted(space, limit, where)
        looks_up = where is not None
        return self._from_one_commit(
            lambda view, catalog: sample(view, catalog, wanted), looks_up=looks_up
        )

    def get(self, source: PathLike, row: str | None = None) -> Item | None:
        """Return the item of a file, or of a manifest's row; None if it is not in the index."""
        with self._reader.view() as view:
            for name in names(source):
                item_id = view.snapshot.item_id(item_key(name, row))
                stored = view.snapshot.item(item_id) if item_id is not None else None
                if stored:
                    return stored.item
        return None

    def remove(self, sources: PathLike | Iterable[PathLike]) -> int:
        """Remove files, all below folders, or all rows of manifests; returns how many items.

        The files themselves are left alone. Sources need not exist any more.
        """
        with closing(self._open_writer()) as writer:
            with self._reader.view() as view:
                ids, failed = meant_by(view.snapshot, listed(sources))
            if ids or failed:
                writer.commit(Batch(removed=ids, forgotten=failed))
            return len(ids)

    def info(self) -> IndexInfo:
        """Describe what the index holds and how it is searched."""
        with self._reader.view() as view:
            return describe(view)

    def tune(
        self,
        ann_recall: float = 0.95,
        *,
        queries: Sequence[str] | None = None,
        recipes: Sequence[str] = (),
        progress: Callable[[str], None] | None = None,
    ) -> "list[Tuned]":
        """Find how little effort keeps a promise, for each field and kind of query, and keep to it.

        The promise is ann_recall_at_10: the share of the 10 exact nearest that approximate search
        finds. It is measured on other queries than those that the effort is chosen by.

        Args:
            ann_recall: The share to keep, between 0 and 1.
            queries: Texts as your users ask them, 400 at least; the reference bank's by default.
                Pictures and sounds that ask are a sample of the index's own.
            recipes: FAISS factory strings to try beside the present one; each field keeps what is
                fastest. Each takes as long as indexing the field did.
            progress: Called with a line for each direction that is begun.

        Returns:
            One for each direction that is searched approximately.

        Raises:
            UsageError: The share or the number of queries makes no sense, or a recipe does not fit.
            IndexLockedError: Another process is writing to the index.
        """
        from mmsearch.engine.recoding import recoded  # here: no query is to wait for it
        from mmsearch.engine.tuning import Tuner, keep_tunings

        if not 0 < ann_recall < 1:
            raise UsageError(f"ann_recall {ann_recall}: give a share between 0 and 1")
        with closing(self._open_writer()) as writer:
            settle(writer)
            with closing(self._open_reader()) as reader, reader.view() as view:
                self._refuse_moved(view.manifest, self.model)
                tuner = Tuner(view, self.model, queries, 0, progress)
                others = recoded(writer, recipes)
                found = tuner.run(ann_recall, others)
            keep_tunings(writer, found, others)
        return found

    def check_tuning(
        self,
        *,
        queries: Sequence[str] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> "list[Tuned]":
        """Measure what is found now where :meth:`tune` has promised something, on fresh queries."""
        from mmsearch.engine.tuning import Tuner  # here: no query is to wait for it

        with closing(self._open_reader()) as reader, reader.view() as view:
            self._refuse_moved(view.manifest, self.model)
            return Tuner(view, self.model, queries, 1, progress).check()

    def compact(self) -> None:
        """Merge segments and drop the vectors of removed items; readers go on meanwhile."""
        with closing(self._open_writer()) as writer:
            compact(writer)

    def verify(self) -> list[Damage]:
        """Check every file and record; see :func:`mmsearch.verify`."""
        return verify_index(self.path)

    def repair(self) -> list[str]:
        """Rebuild what can be rebuilt; see :func:`mmsearch.repair`."""
        self._reader.close()
        try:
            return repair_index(self.path)
        finally:
            self._reader = self._open_reader(self._search_device)
