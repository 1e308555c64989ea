"""Random histories of an index on real files, against a model that is a dictionary."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from fakes import fake_model, word_vector
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from test_on_device import DEVICE

import mmsearch
from mmsearch.search import dense, effort
from mmsearch.store import plan, recipes
from mmsearch.store.field import Field

NAMES = st.sampled_from([f"{n}.txt" for n in range(5)])
WORDS = st.lists(st.sampled_from(["ant", "bee", "cat", "dog"]), min_size=1, max_size=2)


class History(RuleBasedStateMachine):
    """Files come, change, move and go; the index is asked after each step."""

    recipe: str | None = None
    map_codes = False
    search_device: str | None = None

    @initialize()
    def start(self) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="mmsearch-test-"))
        self.files = self.home / "files"
        self.files.mkdir()
        self.texts: dict[str, str] = {}
        self.indexed: dict[str, str] = {}
        self.index = mmsearch.create(self.home / "index", model=fake_model(), recipe=self.recipe)
        self.reopen()
        for number in range(3):
            self.write(f"{number}.txt", ["ant", "bee"][: 1 + number % 2])
        self.add(prune=False)

    @rule(name=NAMES, words=WORDS)
    def write(self, name: str, words: list[str]) -> None:
        self.texts[name] = " ".join(words)
        (self.files / name).write_text(self.texts[name])

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        if self.texts.pop(name, None) is not None:
            (self.files / name).unlink()

    @rule(name=NAMES, to=NAMES)
    def move(self, name: str, to: str) -> None:
        if name in self.texts and to not in self.texts:
            self.texts[to] = self.texts.pop(name)
            (self.files / name).rename(self.files / to)

    @rule(prune=st.booleans())
    def add(self, prune: bool) -> None:
        report = self.index.add(self.files, prune=prune)
        gone = {name: text for name, text in self.indexed.items() if name not in self.texts}
        new = {n for n, text in self.texts.items() if self.indexed.get(n) != text}
        assert report.indexed == len(new)
        assert report.unchanged == len(self.texts) - len(new)
        left = {name: gone[name] for name in (Path(path).name for path in report.vanished)}
        moves = Counter(self.texts[name] for name in new) & Counter(gone.values())
        assert report.moved == moves.total()
        assert Counter(left.values()) == (Counter() if prune else Counter(gone.values()) - moves)
        self.indexed = {**self.texts, **left}

    @rule(name=NAMES, to=NAMES, prune=st.booleans())
    def move_and_add(self, name: str, to: str, prune: bool) -> None:
        self.move(name, to)
        self.add(prune)

    @rule(name=NAMES)
    def delete_and_add(self, name: str) -> None:
        self.delete(name)
        self.add(prune=False)

    @rule(name=NAMES)
    def remove(self, name: str) -> None:
        known = self.indexed.pop(name, None) is not None
        assert self.index.remove(self.files / name) == known

    @rule()
    def compact(self) -> None:
        self.index.compact()

    @rule()
    def reopen(self) -> None:
        self.index.close()
        path = self.home / "index"
        self.index = mmsearch.open(
            path,
            model=fake_model(),
            map_codes=self.map_codes,
            search_device=self.search_device,
        )

    @invariant()
    def answers_equal_brute_force(self) -> None:
        assert self.index.info().items == len(self.indexed)
        if not self.indexed:
            with pytest.raises(mmsearch.UsageError):
                self.index.search("ant")
            return
        hits = self.index.search("ant", k=50)
        assert {h.item.path.name: h.text for h in hits} == self.indexed
        for hit in hits:
            vector = np.sum([word_vector(w) for w in (hit.text or "").split()], axis=0)
            cosine = float(vector @ word_vector("ant") / np.linalg.norm(vector))
            assert abs(cosine - hit.signals["cosine"]) < 2e-3

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
            shutil.rmtree(self.home)


class QuantisedHistory(History):
    recipe = "IVF2,SQ8"


class MappedHistory(QuantisedHistory):
    map_codes = True


class HeldHistory(QuantisedHistory):
    """Codes are on a device, whose memory holds no vectors."""

    recipe = "IVF2,PQ2x4"
    search_device = DEVICE


QUICK = settings(
    max_examples=5,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def run_history(machine: type[History]) -> None:
    run_state_machine_as_test(machine, settings=QUICK)


def test_any_history_answers_like_brute_force() -> None:
    run_history(History)


@pytest.mark.parametrize("machine", [QuantisedHistory, MappedHistory, HeldHistory])
def test_any_history_answers_like_brute_force_through_a_quantised_index(
    machine: type[History], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "_CENTROIDS", 2)
    monkeypatch.setattr(plan, "OUTGROWN", 1.5)
    monkeypatch.setattr(dense, "EXACT_CANDIDATES", 0)
    monkeypatch.setattr(effort, "FIRST_DEPTH", 1)
    monkeypatch.setattr(Field, "on_device", None)
    run_history(machine)
