"""Re-rankers: what judges the first candidates of a query anew learns from pairs."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from turned import Turned, turned, write_pairs, write_sound

import mmsearch
from mmsearch import Item, Part
from mmsearch.encode import Model, folder
from mmsearch.encode.compute import Compute
from mmsearch.encode.heads import HeadKind, unit
from mmsearch.encode.rerank import PairKind, Reranker, Sight
from mmsearch.errors import TrainingError, UsageError
from mmsearch.records import FloatArray, Modality
from mmsearch.train import places
from mmsearch.train.align import Options, Similarity, train_align


class Patched(Turned):
    """Half of its vector is noise, as a network can find out; so is all but one of its places."""

    def encode(self, prepared: Sequence[int]) -> FloatArray:
        return unit(np.hstack([self._meaning(prepared), 1.2 * self._noise(prepared)]))

    def places(self, prepared: Sequence[int]) -> list[FloatArray]:
        both = zip(prepared, self._meaning(prepared), self._noise(prepared), strict=True)
        return [np.array([0.2 * noise] * (1 + n % 3) + [meaning]) for n, meaning, noise in both]

    def _meaning(self, prepared: Sequence[int]) -> FloatArray:
        found = [np.random.default_rng(number).standard_normal(12) for number in prepared]
        return np.array(found, np.float32)

    def _noise(self, prepared: Sequence[int]) -> FloatArray:
        own = sum(self.modality.encode())
        found = [np.random.default_rng([number, own]).standard_normal(12) for number in prepared]
        return np.array(found, np.float32)


def patched() -> Model:
    """Cosines find much already, but blurred."""
    return Model("patched", (Patched(Modality.IMAGE, 24), Patched(Modality.TEXT, 24)))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("many"), 320)


def untitled(path: Path) -> Item:
    """A picture whose name says nothing of it."""
    return Item(str(path), (Part("photo", Modality.IMAGE, str(path)),), columns={"title": "photo"})


@pytest.mark.parametrize("similarity", [Similarity.MLP, Similarity.CROSS])
def test_a_reranker_beats_the_cosine_it_adds_to(
    many: Path, tmp_path: Path, similarity: Similarity
) -> None:
    """On held-out pairs, and in an index that is searched with it."""
    options = Options(similarity, batch_size=32, epochs=8, learning_rate=2e-3)
    base = patched()
    report = train_align(many, model=base, out=tmp_path, options=options)
    assert {change.verdict for change in report.changes} == {"better"}, report.rows()
    model = folder.load(str(tmp_path), Compute(), lambda name: base)
    assert model.encoders == base.encoders
    with mmsearch.create(tmp_path / "index", model=model) as index:
        index.add([untitled(many.parent / f"{number}.png") for number in range(0, 320, 2)])
        asked = [f"item {number}" for number in range(0, 320, 8)]
        plain = mmsearch.open(tmp_path / "index", model=base)
        hits = {
            name: [which.search(text, target="image", k=5) for text in asked]
            for name, which in (("plain", plain), ("judged", index))
        }
        right = {
            name: [f[0].item.path.stem == t.split()[1] for t, f in zip(asked, every, strict=True)]
            for name, every in hits.items()
        }
        assert sum(right["judged"]) > 1.3 * sum(right["plain"])
        assert "judged" in hits["judged"][0][0].signals
        assert "judged" not in hits["plain"][0][0].signals
        for found in hits["judged"]:
            assert [hit.score for hit in found] == sorted((h.score for h in found), reverse=True)
        assert index.search_many(asked[:3], target="image", k=5) == hits["judged"][:3]
        (back,) = index.search(image=many.parent / "8.png", target="image", k=1)
        assert back.item.path.name == "8.png"  # a pairing that was not trained: plain cosine
        plain.close()


def test_a_reranker_takes_what_it_needs_or_says_so(many: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="takes no head"):
        Options(Similarity.MLP, head=HeadKind.MLP)
    with pytest.raises(UsageError, match="no local features of"):
        train_align(many, model=turned(), out=tmp_path / "a", options=Options(Similarity.CROSS))
    apart = turned((24, 30))
    with pytest.raises(UsageError, match="does not compare image with text"):
        train_align(many, model=apart, out=tmp_path / "b", options=Options(Similarity.MLP))
    same = tmp_path / "same.jsonl"
    rows = [{"image": str(many.parent / f"{number}.png"), "text": "item 7"} for number in range(60)]
    same.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mlp = Options(Similarity.MLP)
    with pytest.raises(TrainingError, match="nothing wrong to tell it from"):
        train_align([same], model=patched(), out=tmp_path / "c", options=mlp)


def test_what_reranks_is_not_aligned_again(many: Path, tmp_path: Path) -> None:
    model = replace(patched(), reranker=Reranker({}, 50, False))
    with pytest.raises(UsageError, match="re-ranks; align the model that it was trained on"):
        train_align(many, model=model, out=tmp_path)


class Acoustic(Patched):
    """Its places are wider than those of the visual space."""

    def places(self, prepared: Sequence[int]) -> list[FloatArray]:
        return [np.hstack([rows, rows]) for rows in super().places(prepared)]


def test_places_are_those_of_the_space_that_is_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text's places in the acoustic space judge sounds; a broken sound is alone in a file."""
    monkeypatch.setattr(places, "CHUNK", 32)
    rows = []
    for number in range(65):
        write_sound(tmp_path / f"{number}.wav", number)
        rows.append({"audio": f"{number}.wav", "text": f"item {number}"})
    (tmp_path / "64.wav").write_bytes(b"no sound")
    manifest = tmp_path / "pairs.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    base = Model(
        "pair",
        (
            Patched(Modality.TEXT, 24, "visual"),
            Patched(Modality.IMAGE, 24, "visual"),
            Acoustic(Modality.TEXT, 24, "acoustic"),
            Acoustic(Modality.AUDIO, 24, "acoustic"),
        ),
    )
    options = Options(Similarity.CROSS, batch_size=16, epochs=6, learning_rate=3e-3)
    report = train_align(manifest, model=base, out=tmp_path / "out", options=options)
    assert [failure.source for failure in report.failures] == [str(tmp_path / "64.wav")]
    model = folder.load(str(tmp_path / "out"), Compute(), lambda name: base)
    with mmsearch.create(tmp_path / "index", model=model) as index:
        index.add([tmp_path / f"{number}.wav" for number in range(20)])
        hits = index.search("item 3", target="audio", k=3)
        assert all("judged" in hit.signals for hit in hits)


class Contrary:
    """Likes what the cosine likes least, and hates one of them."""

    def __call__(self, left: Sequence[Sight], right: Sequence[Sight]) -> FloatArray:
        cosines = [float(x.vector @ y.vector) for x, y in zip(left, right, strict=True)]
        found = -2 * np.array(cosines, np.float32)
        found[int(np.argmax(cosines))] -= 50
        return found


def test_a_judge_orders_anew_and_lifts_nothing(many: Path, tmp_path: Path) -> None:
    """The scores stay those that other fields' hits compare with; only their owners change."""
    kind = PairKind.of("turned", Modality.IMAGE, Modality.TEXT)
    judged = replace(patched(), reranker=Reranker({kind: Contrary()}, 30, False))
    with mmsearch.create(tmp_path / "index", model=judged) as index:
        index.add([many.parent / f"{number}.png" for number in range(80)])
        hits = index.search("item 303", target="image", k=60)
        with mmsearch.open(tmp_path / "index", model=patched()) as plain:
            before = plain.search("item 303", target="image", k=60)
    assert [hit.score for hit in hits] == [hit.score for hit in before]
    paths, old = ([hit.item.path for hit in found] for found in (hits, before))
    assert paths[:30] == [*old[1:30][::-1], old[0]]
    assert paths[30:] == old[30:]
    assert hits[29].signals["judged"] < -50
