"""Alignment: heads on frozen encoders learn from pairs, and become a model that an index uses."""

import codecs
import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from turned import COUNT, Turned, turned, two_spaces, write_pairs, write_sound

import mmsearch
from mmsearch.cli.train_printing import align_lines
from mmsearch.encode import Model, aligned, folder, load_model
from mmsearch.encode.compute import Compute
from mmsearch.encode.heads import Head, HeadKind, gelu
from mmsearch.errors import ModelError, TrainingError, UsageError
from mmsearch.metrics import Estimate
from mmsearch.records import Modality
from mmsearch.train import schedule
from mmsearch.train.align import Options, Similarity, heads, train_align
from mmsearch.train.align.heads import TorchHead
from mmsearch.train.align.task import Aligner
from mmsearch.train.figures import Figures, gain
from mmsearch.train.losses import Loss
from mmsearch.train.mini.draw import draw

QUICK = Options(batch_size=64, epochs=12, learning_rate=3e-3, patience=0)
KINDS = (("image", "audio"), ("image", "audio", "text"))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"))


@pytest.mark.parametrize("similarity", list(Similarity)[:2])
@pytest.mark.parametrize("loss", list(Loss))
@pytest.mark.parametrize("head", list(HeadKind))
def test_every_head_and_loss_beats_its_start(
    manifest: Path, tmp_path: Path, head: HeadKind, loss: Loss, similarity: Similarity
) -> None:
    options = replace(QUICK, head=head, loss=loss, similarity=similarity)
    report = train_align(manifest, model=turned(), out=tmp_path, options=options)
    assert report.helped
    assert {change.verdict for change in report.changes} == {"better"}
    assert [change.after.direction for change in report.changes] == ["image→text", "text→image"]
    for row in report.rows():
        assert row["after"]["mrr"] > 2 * row["before"]["mrr"]
        assert row["queries"] == COUNT // 10
    assert json.loads((tmp_path / "report.json").read_text())["helped"] is True


@pytest.mark.parametrize("similarity", list(Similarity)[:2])
def test_a_folder_embeds_as_it_was_trained(
    manifest: Path, tmp_path: Path, similarity: Similarity
) -> None:
    base = turned((24, 30))
    options = replace(QUICK, similarity=similarity, dim=16)
    report = train_align(manifest, model=base, out=tmp_path, options=options)
    model = folder.load(str(tmp_path), Compute(), lambda name: base)
    (space,) = model.spaces
    assert (space.dim, space.normalized) == (16, similarity is Similarity.DOT)
    image, text = model.encoders
    left = image.encode([image.prepare(Image.new("RGB", (8, 8), (0, n, 0))) for n in range(40)])
    right = text.encode([text.prepare(f"item {n}") for n in range(40)])
    best = (left @ right.T).argmax(axis=1)
    assert np.mean(best == np.arange(40)) > 0.3
    assert {change.verdict for change in report.changes} == {"new"}
    # Twice the batch is twice the same; a batch of none is none.
    twice = text.encode([text.prepare("item 3")] * 2)
    np.testing.assert_allclose(twice, right[[3, 3]], rtol=1e-4, atol=1e-5)
    assert text.encode([]).shape == (0, 16)


@pytest.mark.parametrize("kind", list(HeadKind))
def test_a_head_in_numpy_computes_what_was_trained_in_torch(kind: HeadKind) -> None:
    torch.manual_seed(0)
    head = TorchHead(kind, 20, 20).eval()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(9, 20)
    with torch.no_grad():
        expected = head(x).numpy()
    found = Head(kind, head.arrays())(x.numpy())
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def test_gelu_is_torchs() -> None:
    x = np.linspace(-5, 5, 101).astype(np.float32)
    expected = torch.nn.functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()
    np.testing.assert_allclose(gelu(x), expected, atol=1e-6)


def test_a_residual_head_starts_as_what_it_stands_on() -> None:
    x = torch.nn.functional.normalize(torch.randn(5, 12), dim=1)
    torch.testing.assert_close(TorchHead(HeadKind.RESIDUAL, 12, 12).eval()(x), x)
    torch.testing.assert_close(TorchHead(HeadKind.LINEAR, 12, 12).eval()(x), x)


def test_a_report_says_when_it_did_not_help(tmp_path: Path) -> None:
    """Pairs by lot teach nothing: the start stays the best, and the report says so."""
    manifest = write_pairs(tmp_path, 120)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    for row, number in zip(rows, np.random.default_rng(0).permutation(120), strict=True):
        row["text"] = f"item {number}"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = replace(QUICK, patience=3)
    report = train_align(manifest, model=turned(), out=tmp_path / "out", options=options)
    assert not report.helped
    assert "better" not in {change.verdict for change in report.changes}


def test_what_better_means() -> None:
    rng = np.random.default_rng(0)
    before = Figures("a→b", rng.integers(1, 50, 300))
    assert gain(before, before) == Estimate(0, 0, 0)
    risen = gain(before, Figures("a→b", np.maximum(1, before.ranks // 2)))
    assert 0 < risen.low < risen.value < risen.high
    assert before.mrr == pytest.approx(np.mean(1 / before.ranks))


def test_memory_for_a_part_of_the_batch_gives_the_same_run(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(QUICK, head=HeadKind.LINEAR)
    monkeypatch.setattr(heads, "DROPOUT", 0.0)  # it is drawn by the part
    forward, found = Aligner.forward, []
    for part in (64, 10):
        rows: list[int] = []

        def watched(
            self: Aligner, modality: Modality, x: torch.Tensor, rows: list[int] = rows
        ) -> torch.Tensor:
            if self.training:
                rows.append(len(x))
            return forward(self, modality, x)

        monkeypatch.setattr(Aligner, "forward", watched)
        out = tmp_path / str(part)
        train_align(manifest, model=turned(), out=out, options=replace(options, part_size=part))
        found.append(aligned.read_heads(out, json.loads((out / "model.json").read_text())))
        assert max(rows) == part
    for modality in (Modality.IMAGE, Modality.TEXT):
        one, other = (each[modality].arrays["in.weight"] for each in found)
        np.testing.assert_allclose(one, other, atol=1e-4)
        assert np.abs(one - np.eye(24)).max() > 0.03


def test_bad_input_gets_one_clear_line(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 40)
    model = turned((24, 30))
    options = replace(QUICK, head=HeadKind.RESIDUAL)
    with pytest.raises(UsageError, match="residual head keeps the dim"):
        train_align(manifest, model=model, out=tmp_path / "a", options=options)
    lonely = tmp_path / "lonely.jsonl"
    lonely.write_text('{"text": "alone"}\n')
    with pytest.raises(TrainingError, match="no row has parts of two modalities"):
        train_align(lonely, model=model, out=tmp_path / "b")
    with pytest.raises(UsageError, match="does not exist|no such"):
        train_align(tmp_path / "none.jsonl", model=model, out=tmp_path / "c")
    text_only = Model("deaf", (Turned(Modality.TEXT, 8),))
    with pytest.raises(UsageError, match="does not embed image"):
        train_align(manifest, model=text_only, out=tmp_path / "d")
    few = write_pairs(tmp_path, 2)
    with pytest.raises(TrainingError, match="no image-text pairs"):
        train_align(few, model=model, out=tmp_path / "e")


def test_a_folder_of_other_things_is_left_alone(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(UsageError, match="holds other files; name a new folder"):
        train_align(manifest, model=turned(), out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]
    with pytest.raises(UsageError, match="cannot make the folder .*photo.jpg: File exists"):
        train_align(manifest, model=turned(), out=tmp_path / "photo.jpg")
    with pytest.raises(UsageError, match="text column 'captoin': no row has this column"):
        train_align(manifest, model=turned(), out=tmp_path / "x", text_columns=["captoin"])


def test_few_held_out_pairs_are_no_verdict(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 100)
    report = train_align(manifest, model=turned(), out=tmp_path / "out", options=QUICK)
    assert {change.verdict for change in report.changes} == {"too few queries to tell"}
    assert not report.helped
    assert "too few held-out pairs" in list(align_lines(report))[-1]


def test_another_split_or_other_pairs_are_another_run(manifest: Path, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1)
    train_align(manifest, model=turned(), out=tmp_path / "out", options=options)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    other = manifest.with_name("other.jsonl")
    for changed in (
        [row | {"split": ("train", "dev", "test")[n % 3]} for n, row in enumerate(rows)],
        [row | {"text": rows[n - 1]["text"]} for n, row in enumerate(rows)],
    ):
        other.write_text("".join(json.dumps(row) + "\n" for row in changed))
        with pytest.raises(TrainingError, match="holds another run"):
            train_align(other, model=turned(), out=tmp_path / "out", options=options)


@pytest.mark.parametrize(
    "wrong",
    [{"batch_size": 1}, {"part_size": 0}, {"dim": 0}, {"epochs": -1}, {"seed": -1}]
    + [{"patience": -1}, {"learning_rate": 0.0}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} .*: must be"):
        Options(**wrong)


def test_pairs_by_lot_do_not_help(tmp_path: Path) -> None:
    """Two modalities that the base does not compare are judged against chance."""
    manifest = write_pairs(tmp_path)
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    lot = np.random.default_rng(0).permutation(len(rows))
    mixed = [row | {"text": rows[at]["text"]} for row, at in zip(rows, lot, strict=True)]
    manifest.write_text("".join(json.dumps(row) + "\n" for row in mixed))
    options = replace(QUICK, dim=16, epochs=3)
    report = train_align(manifest, model=turned((24, 30)), out=tmp_path / "out", options=options)
    assert not report.helped
    assert "chance" in report.rows()[0]


def test_files_that_cannot_be_read_are_left_out_and_told(tmp_path: Path) -> None:
    manifest = write_pairs(tmp_path, 60)
    for number in (3, 7):
        (tmp_path / f"{number}.png").write_bytes(b"no picture")
    options = replace(QUICK, epochs=1)
    report = train_align(manifest, model=turned(), out=tmp_path / "out", options=options)
    assert sorted(Path(f.source).name for f in report.failures) == ["3.png", "7.png"]


def test_a_folder_whose_base_has_changed_is_refused(manifest: Path, tmp_path: Path) -> None:
    options = replace(QUICK, epochs=1, head=HeadKind.MLP)
    train_align(manifest, model=turned(), out=tmp_path, options=options)
    with pytest.raises(ModelError, match="not those installed"):
        folder.load(str(tmp_path), Compute(), lambda name: turned((30, 30)))
    (tmp_path / "heads.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(ModelError, match="cannot be read"):
        folder.load(str(tmp_path), Compute(), lambda name: turned())
    (tmp_path / "model.json").write_text('{"format": 99}')
    with pytest.raises(ModelError, match="newer version"):
        load_model(str(tmp_path))
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(ModelError, match="not the settings of a model"):
        load_model(str(tmp_path))


def test_pictures_sounds_and_texts_of_two_spaces_meet_in_one(tmp_path: Path) -> None:
    """Pictures find sounds, which the base cannot compare; an index embeds all three alike."""
    rows = []
    for number in range(COUNT):
        write_sound(tmp_path / f"{number}.wav", number)
        row = {"image": f"{number}.png", "audio": f"{number}.wav", "text": f"item {number}"}
        rows.append(json.dumps({name: row[name] for name in KINDS[number % 2]}) + "\n")
    write_pairs(tmp_path)
    manifest = tmp_path / "three.jsonl"
    manifest.write_text("".join(rows))
    base = two_spaces()
    report = train_align(manifest, model=base, out=tmp_path / "out", options=replace(QUICK, dim=16))
    verdicts = {change.after.direction: change.verdict for change in report.changes}
    assert verdicts["image→audio"] == verdicts["audio→image"] == "new"
    assert len(verdicts) == 6
    for change in report.changes:
        assert change.after.mrr > 3 / len(change.after.ranks)
    model = folder.load(str(tmp_path / "out"), Compute(), lambda name: base)
    with mmsearch.create(tmp_path / "index", model=model) as index:
        index.add([tmp_path / f"{number}.png" for number in range(40)])
        index.add([tmp_path / f"{number}.wav" for number in range(40)])
        found = [
            index.search(image=tmp_path / f"{number}.png", target="audio", k=5)
            for number in range(40)
        ]
    stems = [[hit.item.path.stem for hit in hits] for hits in found]
    assert np.mean([str(number) in five for number, five in enumerate(stems)]) > 0.4


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shapes that the project draws, with captions in a language that `mini` does not know."""
    home = tmp_path_factory.mktemp("drawings")
    rows = []
    for number in range(220):
        picture, texts = draw(np.random.default_rng([5, number]))
        picture.save(home / f"{number}.png")
        text = codecs.encode(texts[0], "rot13")
        rows.append(json.dumps({"image": f"{number}.png", "text": text}) + "\n")
    (home / "pairs.jsonl").write_text("".join(rows))
    return home


def command(drawings: Path, out: Path, epochs: int = 40) -> list[str]:
    program = [sys.executable, "-m", "mmsearch", "train", "align", str(drawings / "pairs.jsonl")]
    options = ["--out", str(out), "--head", "linear", "--batch-size", "60", "--patience", "0"]
    return [*program, *options, "--epochs", str(epochs)]


def test_an_index_uses_what_was_trained(drawings: Path, tmp_path: Path) -> None:
    """From drawings through the command line to a search with the new model."""
    out = tmp_path / "aligned"
    done = subprocess.run(command(drawings, out), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "it helped" in done.stdout
    assert done.stdout.splitlines()[0].split() == [
        "direction", "queries", "mrr", "hit@1", "hit@5", "hit@10",
    ]  # fmt: skip
    with mmsearch.create(tmp_path / "index", model=str(out)) as index:
        index.add(drawings / "pairs.jsonl")
        asked = codecs.encode("two black and white stripes", "rot13")
        (hit,) = index.search(asked, target="image", k=1)
        assert hit.part.modality is Modality.IMAGE
        assert index.info().model == str(out)
    with mmsearch.open(tmp_path / "index") as index:
        assert (
            index.search(image=drawings / "0.png", target="image", k=1)[0].item.path.name == "0.png"
        )


def test_a_stopped_alignment_continues_with_the_very_bits(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed by a signal: tests/test_train_loop.py."""
    plan = schedule.plan
    monkeypatch.setattr(schedule, "plan", lambda *a: replace(plan(*a), checkpoint_s=0.0))
    align = partial(train_align, manifest, model=turned(), options=replace(QUICK, part_size=20))
    align(out=tmp_path / "whole")
    said: list[str] = []

    def stop(line: str) -> None:
        if line.startswith("saved at step 7 "):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        align(out=tmp_path / "parts", tell=stop)
    align(out=tmp_path / "parts", tell=said.append)
    saved = [line for line in said if line.startswith("saved")]
    assert saved[0].startswith("saved at step 8 ")
    whole, parts = ((tmp_path / name / aligned.ARRAYS) for name in ("whole", "parts"))
    assert whole.read_bytes() == parts.read_bytes()
