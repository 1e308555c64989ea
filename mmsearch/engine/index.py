"""The index as its users see it."""

import os
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeVar

from numpy.typing import ArrayLike

from mmsearch.closing import Closing
from mmsearch.encode import Model, load_model
from mmsearch.encode.registry import lost_path
from mmsearch.engine.add import Adder
from mmsearch.engine.bridging import banks, bridged
from mmsearch.engine.embedding import Embedded, Failed, alike, embed_many, pointed, refuse
from mmsearch.engine.embeddings import Embeddings, Wanted, sample
from mmsearch.engine.fusing import Scoring
from mmsearch.engine.given import given, given_queries
from mmsearch.engine.info import IndexInfo, describe
from mmsearch.engine.ingest import Progress
from mmsearch.engine.inputs import (
    PathLike,
    absolute,
    find_sources,
    is_below,
    listed,
    modalities,
    names,
)
from mmsearch.engine.judging import judging
from mmsearch.engine.query import Exclusions, ImageLike, Query, SoundLike, sentences
from mmsearch.engine.reencode import Reencoder
from mmsearch.engine.report import Report
from mmsearch.engine.request import Asked, Request
from mmsearch.engine.searching import resolve_targets, run_search
from mmsearch.errors import DamagedIndexError, ModelError, UsageError
from mmsearch.fuse import DEFAULT_SCORER
from mmsearch.records import FieldName, FloatArray, Hit, Item, Modality, item_key, named
from mmsearch.store.batches import batches
from mmsearch.store.catalog import Catalog
from mmsearch.store.maintain import compact
from mmsearch.store.manifest import Manifest
from mmsearch.store.once import computed_once
from mmsearch.store.reader import Reader, View
from mmsearch.store.repair import repair_index
from mmsearch.store.verify import Damage, verify_index
from mmsearch.store.writer import Batch, Writer

if TYPE_CHECKING:
    from mmsearch.engine.heat_map import HeatMap
    from mmsearch.engine.tuning import Tuned

Answer = TypeVar("Answer")
_ATTEMPTS = 10
BATCH = 1024
"""Queries that are searched for together, from one commit."""


class Index(Closing):
    """A folder of vectors and metadata that can be added to and searched; a context manager.

    Searching is thread-safe and sees every commit as soon as it is made, also by other processes.
    """

    def __init__(
        self,
        path: PathLike,
        model: Model | None = None,
        *,
        device: str | None = None,
        precision: str | None = None,
        compile: bool = False,
    ) -> None:
        """Open an index; see :func:`mmsearch.open`."""
        self.path = Path(path)
        self._reader = Reader(self.path)
        self._given_model = model
        self._load_model = partial(load_model, device=device, precision=precision, compile=compile)

    @computed_once
    def model(self) -> Model:
        """The model that the index was made with.

        Raises:
            ModelError: It cannot be loaded, or its weights or preprocessing have changed.
        """
        manifest = self._manifest()
        model = self._given_model or self._load(manifest.model)
        if model.spaces != manifest.spaces:
            raise ModelError(
                f"{self.path}: made with {named(manifest.spaces)}, but {model.name!r} is "
                f"{named(model.spaces)} here: run `mmsearch reencode --index {_option(self.path)}`"
            )
        return model

    def _load(self, name: str) -> Model:
        if path := lost_path(name):
            moved = name.replace(path, "FILE" if f"={path}" in name else "FOLDER")
            raise ModelError(
                f"{self.path}: its model {name} is gone; if it lies elsewhere now, "
                f"`mmsearch reencode --index {_option(self.path)} --model {moved}` says so"
            )
        return self._load_model(name)

    def _manifest(self) -> Manifest:
        with self._reader.view() as view:
            return view.manifest

    def _refuse_moved(self, manifest: Manifest, model: Model) -> None:
        """Refuse to mix models where the index has been moved after this one was loaded."""
        if model.spaces != manifest.spaces:
            raise ModelError(
                f"{self.path}: moved to {named(manifest.spaces)} since it was opened; open it again"
            )

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
        with closing(Writer(self.path)) as writer:
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
        with closing(Writer(self.path)) as writer:
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
        target: Modality | str | Sequence[Modality | str] | None = None,
        k: int = 10,
        where: str | None = None,
        rerank: str = DEFAULT_SCORER,
        min_relevance: float = 0.0,
        dedupe: bool = False,
        templates: str | Sequence[str] = (),
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
            target: Modalities of the parts to be found; all by default.
            k: How many items.
            where: Expression over columns that items must satisfy (docs/where.md).
            rerank: The fusion scorer: ``convex``, ``rrf``, ``none`` for the vectors alone, or one
                that was fitted to the index, ``mlp`` or ``attention`` (docs/ranking.md).
            min_relevance: Hits whose ``relevance`` is lower are left out, 0 to 1.
            dedupe: Whether a hit stands for those that are near-duplicates of it, its
                ``duplicates``; pictures are read again for it.
            templates: Sentences with ``{}`` where the words go; what they say is averaged.

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
        return self.search_many(
            [query],
            target=target,
            k=k,
            where=where,
            rerank=rerank,
            min_relevance=min_relevance,
            dedupe=dedupe,
        )[0]

    def search_many(
        self,
        queries: Sequence[str | Query] | None = None,
        *,
        vectors: ArrayLike | None = None,
        space: str | None = None,
        target: Modality | str | Sequence[Modality | str] | None = None,
        k: int = 10,
        where: str | None = None,
        rerank: str = DEFAULT_SCORER,
        min_relevance: float = 0.0,
        dedupe: bool = False,
        templates: str | Sequence[str] = (),
        failed: Failed | None = None,
    ) -> list[list[Hit]]:
        """Search for each of many queries or vectors, encoded together and searched on all cores.

        Each is answered from one commit, not all from the same one.

        Args:
            queries: Texts, and queries of any modalities.
            vectors: (n, dim) numbers instead, what the model has embedded elsewhere.
            space: The vectors' space, where the model has several.
            target: As for :meth:`search`, and so are the others.
            k: How many items for each.
            where: Expression over columns.
            rerank: The fusion scorer.
            min_relevance: Hits whose ``relevance`` is lower are left out.
            dedupe: Whether a hit stands for those that are near-duplicates of it.
            templates: Sentences around the words of texts; a query has its own.
            failed: Called with the number of each query that cannot be decoded, and why: it finds
                nothing. By default the first such error is raised.

        Returns:
            For each query or vector what :meth:`search` returns.
        """
        model = self.model
        asked = given_queries(queries, vectors, space, templates, model)
        embedded = embed_many(asked, model, failed or refuse)
        request = Request(modalities(target) or (), k, where, rerank, min_relevance, dedupe)
        found: list[list[Hit]] = [[] for _ in asked]
        for some in (some for kind in alike(asked, embedded) for some in batches(kind, BATCH)):
            of_one_kind = [asked[n] for n in some], [embedded[n] for n in some]
            hits = self._search(model, *of_one_kind, request)
            for number, mine in zip(some, hits, strict=True):
                found[number] = mine
        return found

    def _search(
        self,
        model: Model,
        queries: Sequence[Query],
        embedded: Sequence[Embedded],
        request: Request,
        score: Scoring | None = None,
    ) -> list[list[Hit]]:
        bank = banks(model, embedded[0], request.targets)

        def hits(view: View, catalog: Catalog) -> list[list[Hit]]:
            self._refuse_moved(view.manifest, model)
            asked = [
                Asked(
                    terms=terms,
                    bridged=bridged(view, bank, vectors, request.targets),
                    modalities=() if query.vectors else query.inputs().keys(),
                    words=query.text,
                    unwanted=query.excluded,
                    judging=judging(model, query, vectors),
                )
                for query, terms in zip(queries, embedded, strict=True)
                for vectors in [pointed(terms)]
            ]
            targets = resolve_targets(view, embedded[0], asked[0].bridged, request.targets)
            return run_search(view, catalog, replace(request, targets=targets), asked, score)

        looks_up = request.where is not None or any(q.text or q.excluded for q in queries)
        return self._from_one_commit(hits, looks_up=looks_up)

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

    def _from_one_commit(
        self, answer: Callable[[View, Catalog], Answer], *, looks_up: bool
    ) -> Answer:
        """Return an answer in which catalog and records agree, if it looks into the catalog."""
        for _ in range(_ATTEMPTS):
            with self._reader.view() as view:
                found = answer(view, self._reader.catalog)
                if not looks_up or self._reader.catalog.stamp <= view.manifest.commit + 1:
                    return found
            # Two commits have passed meanwhile: the catalog no longer holds what the first removed.
        raise DamagedIndexError(f"{self.path}: its catalog is not its own; run `mmsearch repair`")

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
        named = (name for source in listed(sources) for name in names(source))
        roots = {name.rstrip(os.sep) or os.sep for name in named}
        with closing(Writer(self.path)) as writer:
            with self._reader.view() as view:
                ids = [s.id for s in view.snapshot.items() if is_below(s.item.source, roots)]
                failures = [stored.failure for stored in view.snapshot.failures()]
            failed = [item_key(f.source, f.row) for f in failures if is_below(f.source, roots)]
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
        progress: Callable[[str], None] | None = None,
    ) -> "list[Tuned]":
        """Find how little effort keeps a promise, for each field and kind of query, and keep to it.

        The promise is ann_recall_at_10: the share of the 10 exact nearest that approximate search
        finds. It is measured on other queries than those that the effort is chosen by.

        Args:
            ann_recall: The share to keep, between 0 and 1.
            queries: Texts as your users ask them, 400 at least; the reference bank's by default.
                Pictures and sounds that ask are a sample of the index's own.
            progress: Called with a line for each direction that is begun.

        Returns:
            One for each direction that is searched approximately.

        Raises:
            UsageError: The share or the number of queries makes no sense.
            IndexLockedError: Another process is writing to the index.
        """
        from mmsearch.engine.tuning import Tuner, keep_tunings  # here: no query is to wait for it

        if not 0 < ann_recall < 1:
            raise UsageError(f"ann_recall {ann_recall}: give a share between 0 and 1")
        with closing(Writer(self.path)) as writer:
            with self._reader.view() as view:
                self._refuse_moved(view.manifest, self.model)
                found = Tuner(view, self.model, queries, 0, progress).run(ann_recall)
            keep_tunings(writer, found)
        return found

    def check_tuning(
        self,
        *,
        queries: Sequence[str] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> "list[Tuned]":
        """Measure what is found now where :meth:`tune` has promised something, on fresh queries."""
        from mmsearch.engine.tuning import Tuner  # here: no query is to wait for it

        with self._reader.view() as view:
            self._refuse_moved(view.manifest, self.model)
            return Tuner(view, self.model, queries, 1, progress).check()

    def compact(self) -> None:
        """Merge segments and drop the vectors of removed items; readers go on meanwhile."""
        with closing(Writer(self.path)) as writer:
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
            self._reader = Reader(self.path)

    def close(self) -> None:
        """Release the files."""
        self._reader.close()


def _option(folder: Path) -> str:
    """Return a folder as ``--index`` takes it: without a separator it would be a name."""
    path = str(folder)
    return shlex.quote(path if os.sep in path else os.path.join(os.curdir, path))
