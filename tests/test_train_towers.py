"""Towers from scratch: every kind learns, a killed run continues, and an index uses the result."""

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from fakes import fake_model
from PIL import Image, ImageDraw

import mmsearch
from mmsearch.cli.app import run as command_line
from mmsearch.encode import load_model
from mmsearch.encode.compute import Compute
from mmsearch.encode.towers import WEIGHTS
from mmsearch.encode.towers.networks import Network, build
from mmsearch.encode.towers.shapes import ImageTower, SoundFeatures, TextTower
from mmsearch.encode.towers.weights import Weights, write
from mmsearch.errors import ModelError, TrainingError, UsageError
from mmsearch.records import FloatArray, Modality, Part
from mmsearch.train import towers
from mmsearch.train.checkpoint import CHECKPOINT
from mmsearch.train.towers import Options, TowersReport
from mmsearch.train.towers.clean import near_copies
from mmsearch.train.towers.export import export
from mmsearch.train.towers.prepare import recipe

COLOURS = {"red": (210, 40, 40), "green": (40, 190, 60), "blue": (50, 60, 210)}
SHAPES = ("square", "circle")
PITCHES_HZ = {"low hum": 150, "middle tone": 700, "high whistle": 3000}
SPLITS = ("train",) * 4 + ("validation", "test")
train_towers = partial(towers.train_towers, device="cpu")  # where the bits are promised
TINY = Options(width=8, side=32, dim=16, batch_size=24, epochs=10, learning_rate=5e-3, patience=20)


def draw(path: Path, colour: str, shape: str, rng: np.random.Generator) -> None:
    picture = Image.new("RGB", (40, 40), tuple(rng.integers(90, 160, 3).tolist()))
    left, top, size = rng.integers(1, 12), rng.integers(1, 12), rng.integers(20, 27)
    box = (int(left), int(top), int(left + size), int(top + size))
    pen = ImageDraw.Draw(picture)
    (pen.rectangle if shape == "square" else pen.ellipse)(box, fill=COLOURS[colour])
    picture.save(path)


def hum(path: Path, pitch_hz: float, rng: np.random.Generator) -> None:
    times = np.arange(16_000) / 16_000
    tone = np.sin(2 * np.pi * pitch_hz * rng.uniform(0.9, 1.1) * times + rng.uniform(0, 6))
    soundfile.write(path, 0.4 * tone + rng.normal(0, 0.02, len(times)), 16_000)


def write_rows(path: Path, rows: Sequence[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """72 pictures with captions, and the split of each."""
    folder, rng, rows = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0), []
    for number in range(72):
        colour, shape = list(COLOURS)[number % 3], SHAPES[number // 3 % 2]
        draw(folder / f"{number}.png", colour, shape, rng)
        split = SPLITS[number // 6 % 6]
        rows.append({"image": f"{number}.png", "text": f"a {colour} {shape}", "split": split})
    return write_rows(folder / "pairs.jsonl", rows)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """54 sounds with labels."""
    folder, rng, rows = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0), []
    for number in range(54):
        name = list(PITCHES_HZ)[number % 3]
        hum(folder / f"{number}.wav", PITCHES_HZ[name], rng)
        split = SPLITS[number // 3 % 6]
        rows.append({"audio": f"{number}.wav", "label": name, "split": split})
    return write_rows(folder / "sounds.jsonl", rows)


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> TowersReport:
    """A convolutional network and a token table."""
    return train_towers(pictures, out=tmp_path_factory.mktemp("trained"), options=TINY)


def mrr(report: TowersReport) -> float:
    return float(np.mean([one.mrr for one in report.figures]))


def start(pairs: Path, out: Path, options: Options, label: str | None = None) -> float:
    """The figure of untrained towers on the test pairs."""
    return mrr(train_towers(pairs, out=out, label=label, options=replace(options, epochs=0)))


@pytest.mark.parametrize(
    "kinds",
    [
        (ImageTower.CONVOLUTION, TextTower.TABLE),
        (ImageTower.VIT, TextTower.TABLE),
        (ImageTower.CONVOLUTION, TextTower.GRU),
        (ImageTower.CONVOLUTION, TextTower.TRANSFORMER),
    ],
    ids="-".join,
)
def test_towers_for_pictures_and_texts_learn(
    pictures: Path, tmp_path: Path, kinds: tuple[ImageTower, TextTower]
) -> None:
    options = replace(TINY, image_tower=kinds[0], text_tower=kinds[1], epochs=20)
    report = train_towers(pictures, out=tmp_path / "trained", options=options)
    assert [row["direction"] for row in report.rows()] == ["image→text", "text→image"]
    assert [row["queries"] for row in report.rows()] == [12, 6]
    assert mrr(report) > start(pictures, tmp_path / "start", options) + 0.2
    assert mrr(report) > 0.7


@pytest.mark.parametrize("features", SoundFeatures)
def test_towers_for_sounds_learn_their_labels(
    sounds: Path, tmp_path: Path, features: SoundFeatures
) -> None:
    options = replace(TINY, sound=features, batch_size=12)
    report = train_towers(sounds, out=tmp_path / "trained", label="label", options=options)
    assert mrr(report) > start(sounds, tmp_path / "start", options, "label") + 0.1
    assert mrr(report) > 0.8
    model = load_model(str(report.folder), "cpu")
    assert [encoder.modality for encoder in model.encoders] == [Modality.TEXT, Modality.AUDIO]
    assert model.encoders[1].encode([]).shape == (0, 16)


def test_towers_for_pictures_and_sounds_meet_without_words(
    pictures: Path, sounds: Path, tmp_path: Path
) -> None:
    """Red goes with the first pitch, blue with the second, green with the third."""
    rows = [
        {
            "image": str(pictures.parent / f"{number}.png"),
            "audio": str(sounds.parent / f"{number}.wav"),
            "split": SPLITS[number // 3 % 6],
        }
        for number in range(54)
    ]
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    options = replace(TINY, epochs=20, batch_size=12)
    report = train_towers(pairs, out=tmp_path / "trained", options=options)
    assert [row["direction"] for row in report.rows()] == ["audio→image", "image→audio"]
    model = load_model(str(report.folder), "cpu")
    assert [encoder.modality for encoder in model.encoders] == [Modality.IMAGE, Modality.AUDIO]
    assert mrr(report) > start(pairs, tmp_path / "start", options) + 0.1


def test_the_report_says_what_it_rests_on(trained: TowersReport) -> None:
    written = json.loads((trained.folder / "report.json").read_text())
    assert (written["pairs"], written["left_out"], written["failures"]) == (48, 0, [])
    assert written["directions"] == trained.rows()
    assert 0 < written["best_step"] <= written["steps"] == 20


def test_an_index_uses_the_result_and_a_text_query_imports_no_torch(
    trained: TowersReport, pictures: Path, tmp_path: Path
) -> None:
    with mmsearch.create(tmp_path / "index", model=str(trained.folder)) as index:
        assert len(index.add(pictures).failures) == 0
        assert [space.dim for space in index.info().spaces] == [16]
    code = f"""
        import sys, mmsearch
        with mmsearch.open({str(tmp_path / "index")!r}) as index:
            print(*(hit.item.path.name for hit in index.search("a red square", k=12)))
        print("torch" in sys.modules)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split("\n")
    red_squares = {f"{number}.png" for number in range(0, 72, 6)}
    assert len(red_squares & set(found[0].split())) >= 6
    assert found[1] == "False"


def test_the_space_covers_weights_and_preprocessing(trained: TowersReport, tmp_path: Path) -> None:
    whole = Weights(trained.folder / WEIGHTS, "whole")
    arrays = {
        f"{kind}.{name}": array
        for kind in ("text", "image")
        for name, array in whole.arrays(f"{kind}.").items()
    }
    hashes = {load_model(str(trained.folder)).spaces[0].sha256}
    design, tokenizer = whole.design(), whole._tokenizer().to_str()
    copy = tmp_path / "copy"
    write(copy, design, tokenizer, arrays)
    hashes.add(Weights(copy, "copy").space().sha256)
    assert len(hashes) == 1
    for changed in (replace(design, side=40), replace(design, sound=SoundFeatures.MFCC)):
        write(copy, changed, tokenizer, arrays)
        hashes.add(Weights(copy, "copy").space().sha256)
    name = next(name for name in arrays if name.endswith("bias"))
    arrays[name] = arrays[name] + 1
    write(copy, design, tokenizer, arrays)
    hashes.add(Weights(copy, "copy").space().sha256)
    assert len(hashes) == 4


def test_weights_that_change_under_a_reader_are_refused(
    trained: TowersReport, tmp_path: Path
) -> None:
    """Or vectors of new weights would be stored under the old weights' name."""
    folder = Path(shutil.copytree(trained.folder, tmp_path / "model"))
    model = load_model(str(folder), "cpu")
    (text, image), before = model.encoders, model.spaces
    shutil.copyfile(folder / WEIGHTS, folder / "new")
    (folder / "new").replace(folder / WEIGHTS)
    assert model.spaces == before
    for encoder, sample in ((text, "a dog"), (image, Image.new("RGB", (9, 9)))):
        with pytest.raises(ModelError, match="other weights are there now"):
            encoder.encode([encoder.prepare(sample)])


def test_weights_without_a_tensor_are_refused(trained: TowersReport, tmp_path: Path) -> None:
    whole = Weights(trained.folder / WEIGHTS, "whole")
    arrays = {f"image.{name}": array for name, array in whole.arrays("image.").items()}
    name = next(name for name in arrays if name.endswith("bias"))
    del arrays[name]
    write(tmp_path / "short", whole.design(), "", arrays)
    with pytest.raises(ModelError, match="Missing key"):
        Network(Weights(tmp_path / "short", "short"), Modality.IMAGE, Compute("cpu"))


def test_weights_that_diverged_are_not_written(tmp_path: Path) -> None:
    design = TINY.design([Modality.IMAGE], 0)
    tower = build(design, Modality.IMAGE)
    next(tower.parameters()).data[0] = float("nan")
    with pytest.raises(TrainingError, match="diverged"):
        export(tmp_path / WEIGHTS, design, {Modality.IMAGE: tower}, None)
    assert not (tmp_path / WEIGHTS).exists()


RUN = """
    import sys
    from dataclasses import replace
    import torch
    torch.set_num_threads(1)
    sys.path.insert(0, sys.argv[3])
    from test_train_towers import TINY, train_towers
    from mmsearch.train.towers import run
    plan = run.plan
    run.plan = lambda *given: replace(plan(*given), checkpoint_s=0.0)
    train_towers(sys.argv[1], out=sys.argv[2], options=replace(TINY, epochs=20), tell=print)
"""


def test_a_killed_run_continues_bit_for_bit(pictures: Path, tmp_path: Path) -> None:
    options, here = replace(TINY, epochs=20), str(Path(__file__).parent)
    arguments = ["-c", textwrap.dedent(RUN), str(pictures), str(tmp_path / "parts"), here]
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL) as process:
        saved, deadline = tmp_path / "parts/training" / CHECKPOINT, time.monotonic() + 60
        while not saved.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    steps = torch.load(saved, weights_only=True)["progress"]["step"]
    assert 0 < steps < 40
    for name in ("parts", "whole"):
        train_towers(pictures, out=tmp_path / name, options=options)
    files = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("parts", "whole")]
    assert files[0] == files[1]
    texts = [(tmp_path / name / "training/metrics.csv").read_text() for name in ("parts", "whole")]
    assert texts[0] == texts[1]


def seen(pictures: Path, number: int) -> Image.Image:
    with Image.open(pictures.parent / f"{number}.png") as file:
        return file.convert("RGB")


def likeness(folder: Path, pictures: Path, targets: FloatArray) -> float:
    """How well the similarities of pictures follow those of a teacher's embeddings."""
    encoder = load_model(str(folder), "cpu").encoders[1]
    images = [seen(pictures, number) for number in range(72)]
    vectors = encoder.encode([encoder.prepare(image) for image in images])
    upper = np.triu_indices(72, 1)
    found = np.corrcoef((vectors @ vectors.T)[upper], (targets @ targets.T)[upper])
    return float(found[0, 1])


def test_towers_follow_arrays_of_another_dim(pictures: Path, tmp_path: Path) -> None:
    """The teacher puts colours far apart, and rows may come in any order under their names."""
    colour = np.eye(5, dtype=np.float32)[np.arange(72) % 3]
    order = np.random.default_rng(0).permutation(72)
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    np.save(teacher / "image.npy", colour[order])
    (teacher / "image.txt").write_text("".join(f"{number}.png\n" for number in order))
    options = replace(TINY, distillation=5.0)
    report = train_towers(pictures, out=tmp_path / "out", teacher=teacher, options=options)
    assert likeness(report.folder, pictures, colour) > 0.8
    alone = train_towers(pictures, out=tmp_path / "alone", options=TINY)
    assert likeness(alone.folder, pictures, colour) < likeness(report.folder, pictures, colour)


def test_a_teacher_that_names_nothing_is_refused(pictures: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", np.eye(72, dtype=np.float32))
    (tmp_path / "image.txt").write_text("".join(f"elsewhere/{n}.png\n" for n in range(72)))
    with pytest.raises(UsageError, match="names none of the image parts, such as"):
        train_towers(pictures, out=tmp_path / "out", teacher=tmp_path, options=TINY)


def test_a_report_names_files_whose_names_are_no_text(pictures: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)
    with open(folder + b"/broken.png", "wb") as file:
        file.write(b"no picture")
    rows = [json.loads(line) for line in pictures.read_text().splitlines()]
    rows = [{**row, "image": str(pictures.parent / row["image"])} for row in rows]
    with open(folder + b"/pairs.jsonl", "w") as file:
        for row in [*rows, {"image": "broken.png", "text": "a broken thing", "split": "train"}]:
            file.write(json.dumps(row) + "\n")
    pairs = os.fsdecode(folder + b"/pairs.jsonl")
    report = train_towers(pairs, out=tmp_path / "out", options=replace(TINY, epochs=0))
    (failure,) = json.loads((report.folder / "report.json").read_text())["failures"]
    assert failure["source"] == os.fsdecode(folder + b"/broken.png")


def test_towers_follow_a_model_of_the_same_dim(pictures: Path, tmp_path: Path) -> None:
    options = replace(TINY, dim=32, distillation=5.0)
    teacher = fake_model()
    report = train_towers(pictures, out=tmp_path / "out", teacher=teacher, options=options)
    student, taught = load_model(str(report.folder), "cpu").encoders[1], teacher.encoders[1]
    images = [seen(pictures, number) for number in range(72)]
    one, other = (
        encoder.encode([encoder.prepare(image) for image in images])
        for encoder in (student, taught)
    )
    assert (one * other).sum(axis=1).mean() > 0.6  # in the teacher's own directions


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        (np.zeros((71, 4), np.float32), None, "71 rows for 72 parts; name them in image.txt"),
        (np.zeros(72, np.float32), None, r"shape \(72,\) of float32"),
        (np.full((72, 4), np.nan, np.float32), None, "no numbers"),
        (np.zeros((2, 4), np.float32), "0.png\n", "1 lines for 2 rows"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    pictures: Path, tmp_path: Path, rows: FloatArray, names: str | None, message: str
) -> None:
    np.save(tmp_path / "image.npy", rows)
    if names:
        (tmp_path / "image.txt").write_text(names)
    with pytest.raises(UsageError, match=f"image.*{message}") as raised:
        train_towers(pictures, out=tmp_path / "out", teacher=tmp_path, options=TINY)
    assert "\n" not in str(raised.value)


def test_what_cannot_be_read_is_listed(pictures: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in pictures.read_text().splitlines()]
    for row in rows:
        row["image"] = os.path.join(pictures.parent, row["image"])
    (tmp_path / "broken.png").write_text("no picture")
    rows.append({"image": "broken.png", "text": "a red square", "split": "train"})
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    report = train_towers(pairs, out=tmp_path / "out", options=replace(TINY, epochs=0))
    (failure,) = report.failures
    assert failure.source.endswith("broken.png") and "broken.png" in failure.reason
    assert report.pairs == 48


def test_copies_of_what_is_held_out_are_not_trained_on(pictures: Path, tmp_path: Path) -> None:
    """Re-compressed copies of test pictures are put among those to train on."""
    rows = [json.loads(line) for line in pictures.read_text().splitlines()]
    for number, row in enumerate(list(rows)):
        picture = seen(pictures, number)
        row["image"] = os.path.join(pictures.parent, row["image"])
        if row["split"] == "test":
            picture.resize((60, 60)).save(tmp_path / f"copy{number}.jpg", quality=90)
            rows.append({**row, "image": f"copy{number}.jpg", "split": "train"})
    pairs = write_rows(tmp_path / "pairs.jsonl", rows)
    report = train_towers(pairs, out=tmp_path / "out", options=replace(TINY, epochs=0))
    assert (report.pairs, report.left_out) == (48, 12)


def test_a_sound_that_is_compressed_anew_is_known(tmp_path: Path) -> None:
    """In another format, quieter; another burst of noise is another."""
    rng, rate_hz = np.random.default_rng(3), 16_000
    for name in ("other", "whole"):
        bursts = np.repeat(rng.uniform(0.05, 0.3, 50), 1600)
        samples = np.cumsum(rng.normal(0, 1, len(bursts))) * 0.02 + rng.normal(0, 1, len(bursts))
        samples = 0.2 * bursts * samples
        soundfile.write(tmp_path / f"{name}.wav", samples, rate_hz)
    for name in ("copy.ogg", "copy.flac"):
        soundfile.write(tmp_path / name, 0.5 * samples, rate_hz)
    how = recipe(Modality.AUDIO, 112)
    paths = sorted(path for path in tmp_path.iterdir() if path.stem != "whole")
    parts = [Part("", Modality.AUDIO, str(path)) for path in (tmp_path / "whole.wav", *paths)]
    marks = np.stack([how.mark(how.read(part)) for part in parts])
    copied = near_copies(marks[1:], marks[:1], how.tolerance)
    found = [path.name for path, same in zip(paths, copied, strict=True) if same]
    assert found == ["copy.flac", "copy.ogg"]


def test_too_few_pairs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("")
    pairs = write_rows(tmp_path / "pairs.jsonl", [{"image": "a.png"}])
    with pytest.raises(TrainingError, match="no row has parts of two modalities"):
        train_towers(pairs, out=tmp_path / "out")
    with pytest.raises(UsageError, match="has no column 'label'"):
        train_towers(pairs, out=tmp_path / "out", label="label")


@pytest.mark.parametrize(
    "options", [{"side": 30}, {"width": 4}, {"part_size": 1}, {"mixup": -1.0}, {"dim": 0}]
)
def test_options_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=name):
        Options(**options)  # type: ignore[arg-type]


def test_the_command_trains_and_says_how_to_go_on(
    pictures: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = ["train", "towers", str(pictures), "--out", str(tmp_path), "--teacher", "mini"]
    command += ["--width", "8", "--side", "32", "--dim", "16", "--epochs", "2", "--device", "cpu"]
    command += ["--batch-size", "24", "--part-size", "12"]
    assert command_line(command) == 0
    printed = capfd.readouterr().out.splitlines()
    assert printed[1].startswith("image→text") and printed[2].startswith("text→image")
    assert printed[-1] == f"use it with: mmsearch index PATH --model {tmp_path}"
    assert command_line([*command, "--dim", "24"]) == 1
    assert "holds another run" in capfd.readouterr().err

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mmsearch.train.towers.train_towers", interrupted)
    assert command_line(command) == 130
    assert "the same command continues" in capfd.readouterr().err
