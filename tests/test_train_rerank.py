"""Re-rankers: what judges the first candidates of a query anew learns from pairs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from turned import Turned, turned, write_pairs

import mmsearch
from mmsearch.encode import Model, folder
from mmsearch.encode.heads import HeadKind, unit
from mmsearch.errors import UsageError
from mmsearch.records import FloatArray, Modality
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


@pytest.mark.parametrize("similarity", [Similarity.MLP, Similarity.CROSS])
def test_a_reranker_beats_the_cosine_it_adds_to(
    many: Path, tmp_path: Path, similarity: Similarity
) -> None:
    """On held-out pairs, and in an index that is searched with it."""
    options = Options(similarity, batch_size=32, epochs=8, learning_rate=2e-3)
    base = patched()
    report = train_align(many, model=base, out=tmp_path, options=options)
    assert {change.verdict for change in report.changes} == {"better"}, report.rows()
    model = folder.load(str(tmp_path), None, lambda name, device: base)
    assert model.encoders == base.encoders
    with mmsearch.create(tmp_path / "index", model=model) as index:
        index.add([many.parent / f"{number}.png" for number in range(0, 320, 2)])
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
