"""An open index: its files, its model, and answers that come from one commit."""

import os
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mmsearch.closing import Closing
from mmsearch.encode import Model, load_model
from mmsearch.encode.compute import Compute
from mmsearch.encode.itm import Matchers
from mmsearch.encode.registry import lost_path
from mmsearch.engine.bridging import banks, bridged
from mmsearch.engine.embedding import Embedded, Failed, alike, embed_many, pointed, refuse
from mmsearch.engine.fusing import Scoring
from mmsearch.engine.inputs import PathLike
from mmsearch.engine.judging import judging
from mmsearch.engine.matching import matcher_of, matching
from mmsearch.engine.query import Query
from mmsearch.engine.request import Asked, Request
from mmsearch.engine.searching import resolve_targets, run_search
from mmsearch.errors import DamagedIndexError, ModelError
from mmsearch.records import Hit, named
from mmsearch.store.batches import batches
from mmsearch.store.catalog import Catalog
from mmsearch.store.manifest import Manifest
from mmsearch.store.once import computed_once
from mmsearch.store.reader import Reader, View
from mmsearch.store.writer import Writer

if TYPE_CHECKING:
    import torch

Answer = TypeVar("Answer")
_ATTEMPTS = 10
BATCH = 1024
"""Queries that are searched for together, from one commit."""
_ITEMS = 2**20
"""Items that are taken for them together: fewer queries where each is to find many."""


class Opened(Closing):
    """What :class:`mmsearch.Index` stands on."""

    def __init__(
        self,
        path: PathLike,
        model: Model | None = None,
        *,
        device: str | None = None,
        precision: str | None = None,
        compile: bool = False,
        search_device: str | None = None,
        map_codes: bool = False,
    ) -> None:
        """Open an index; see :func:`mmsearch.open`."""
        self.path = Path(path)
        self._open_reader = partial(Reader, self.path, map_codes=map_codes)
        self._search_device = device_of(search_device)
        self._open_writer = partial(Writer, self.path, device=self._search_device)
        self._reader = self._open_reader(self._search_device)
        self._given_model = model
        self._load_model = partial(load_model, device=device, precision=precision, compile=compile)
        self._matchers = Matchers(device, precision, compile)

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

    def _search(
        self, queries: Sequence[Query], request: Request, failed: Failed = refuse
    ) -> list[list[Hit]]:
        """Return for each query its hits; those that are alike are searched for together.

        Args:
            queries: Of any modalities.
            request: What is to be found.
            failed: Called with the number of each query that cannot be decoded, and why.
        """
        model = self.model
        embedded = embed_many(queries, model, failed)
        found: list[list[Hit]] = [[] for _ in queries]
        size = max(1, min(BATCH, _ITEMS // request.depth))
        for some in (some for kind in alike(queries, embedded) for some in batches(kind, size)):
            of_one_kind = [queries[n] for n in some], [embedded[n] for n in some]
            hits = self._search_embedded(model, *of_one_kind, request)
            for number, mine in zip(some, hits, strict=True):
                found[number] = mine
        return found

    def _search_embedded(
        self,
        model: Model,
        queries: Sequence[Query],
        embedded: Sequence[Embedded],
        request: Request,
        score: Scoring | None = None,
    ) -> list[list[Hit]]:
        """Return for each of some queries that are alike its hits, all from one commit.

        Args:
            model: What has embedded them.
            queries: Of one kind, see :func:`alike`.
            embedded: They, embedded.
            request: What is to be found.
            score: Gives scores to what is found, instead of the scorer that is asked for.
        """
        bank = banks(model, embedded[0], request.targets)
        matcher = matcher_of(self._matchers, request.rerank)

        def hits(view: View, catalog: Catalog) -> list[list[Hit]]:
            self._refuse_moved(view.manifest, model)
            asked = [
                Asked(
                    terms=terms,
                    bridged=bridged(view, bank, vectors, request.targets),
                    modalities=() if query.vectors else query.inputs.keys(),
                    words=query.text,
                    unwanted=query.excluded,
                    judging=judging(model, query, vectors),
                    matching=matching(matcher, query),
                )
                for query, terms in zip(queries, embedded, strict=True)
                for vectors in [pointed(terms)]
            ]
            targets = resolve_targets(view, embedded[0], asked[0].bridged, request.targets)
            return run_search(view, catalog, replace(request, targets=targets), asked, score)

        looks_up = request.looks_up or any(q.text or q.excluded for q in queries)
        return self._from_one_commit(hits, looks_up=looks_up)

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

    def close(self) -> None:
        """Release the files."""
        self._reader.close()


def device_of(name: str | None) -> "torch.device | None":
    """Return the torch device that vectors are compared on, if one is asked for.

    Raises:
        UsageError: torch knows no such device, or it is not in this machine.
    """
    return Compute(name).device if name else None


def _option(folder: Path) -> str:
    """Return a folder as ``--index`` takes it: without a separator it would be a name."""
    path = str(folder)
    return shlex.quote(path if os.sep in path else os.path.join(os.curdir, path))
