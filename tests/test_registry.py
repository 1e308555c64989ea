"""Models by name: pairs, canonical names, and what importing costs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import fake_model
from tiny_checkpoints import embed, pictures, sounds, write_clap, write_open_clip

import mmsearch
from mmsearch.encode import Model, load_model
from mmsearch.encode.presets import PRESETS
from mmsearch.errors import ModelError, UsageError
from mmsearch.records import FieldName, Modality


def test_a_pair_embeds_a_text_in_both_spaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_open_clip(tmp_path / "a+b", "siglip")
    write_clap(tmp_path / "clap")
    monkeypatch.chdir(tmp_path)
    model = load_model("open_clip:local-dir:a+b+clap:clap", device="cpu")
    assert model.name == f"open_clip:local-dir:{tmp_path}/a+b+clap:{tmp_path}/clap"
    visual, acoustic = model.spaces
    assert (visual.name, visual.dim) == ("visual", 20)
    assert (acoustic.name, acoustic.dim) == ("acoustic", 24)
    assert model.fields(Modality.TEXT) == (
        FieldName("visual", Modality.TEXT),
        FieldName("acoustic", Modality.TEXT),
    )
    inputs: dict[Modality, list[Any]]
    inputs = {Modality.TEXT: ["a dog"], Modality.IMAGE: pictures(), Modality.AUDIO: sounds()}
    for modality, some in inputs.items():
        for field in model.fields(modality):
            encoder = model.encoder(field)
            assert embed(encoder, some).shape == (len(some), encoder.space.dim)
    monkeypatch.chdir("/")
    assert load_model(model.name).spaces == model.spaces


def test_unknown_names_list_what_there_is() -> None:
    for name in ("x", "", "torch:x", "mini+blip2"):
        with pytest.raises(ModelError, match=r"^there is no model '.*'; there are mini, .*$"):
            load_model(name)
    for near, name in (("siglip", "siglip2"), ("SigLIP2", "siglip2"), ("klip", "clip")):
        with pytest.raises(ModelError, match=rf"'{near}' \(did you mean '{name}'\?\); there are"):
            load_model(near)
    for other in ("clap:laion/clap-htsat-unfused", "pe_av:facebook/pe-av-small"):
        with pytest.raises(ModelError, match=r"has two parts that would share a space$"):
            load_model(f"clap:laion/clap-htsat-fused+{other}")


def test_short_names_stand_for_whole_ones() -> None:
    for name, preset in PRESETS.items():
        model = load_model(name)
        assert model.name == preset.model
        assert load_model(model.name).name == model.name
        modalities = {encoder.modality for encoder in model.encoders}
        assert modalities == {Modality.TEXT, Modality.IMAGE, Modality.AUDIO}


def test_short_names_are_parts_of_pairs(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "siglip", "siglip")
    clap = "clap:laion/clap-htsat-unfused"
    clip = "open_clip:ViT-B-32/laion2b_s34b_b79k"
    assert load_model("clip+mini").name == f"{clip}+{clap}+mini"
    assert load_model("mini+clip").name == f"mini+{clip}+{clap}"
    assert load_model("gemma+mini").name == "gemma:google/embeddinggemma-2+mini"
    assert load_model(f"clap:{folder}+gemma").name == f"clap:{folder}+{PRESETS['gemma'].model}"
    for name in (f"siglip2+clap:{folder}", f"open_clip:local-dir:{folder}+clip", "clip+siglip2"):
        with pytest.raises(ModelError, match=r"has two parts that would share a space$"):
            load_model(name)


def test_a_plus_sign_in_a_folder_is_no_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_clap(tmp_path / "clap+mini-lm")
    assert load_model(f"clap:{folder}").name == f"clap:{folder}"
    for name in ("a+clip", "b+mini"):
        (tmp_path / name).mkdir()
        assert load_model(f"clap:{tmp_path / name}").name == f"clap:{tmp_path / name}"
    pair = f"open_clip:local-dir:{tmp_path}/a+clip+clap:{tmp_path}/b+mini"
    assert load_model(pair).name == pair
    (tmp_path / "mini").mkdir()
    (tmp_path / "mini/model.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert load_model("mini").spaces[0].name.startswith("mini-")


def test_an_unknown_device_is_named(tmp_path: Path) -> None:
    folder = write_open_clip(tmp_path / "siglip", "siglip")
    for device in ("gpu", "cuda:99"):
        image = load_model(f"open_clip:local-dir:{folder}", device).encoders[1]
        with pytest.raises(UsageError, match=rf"^device '{device}' cannot be used: .*$"):
            image.prepare(pictures()[0])


def test_names_are_resolved_without_heavy_imports() -> None:
    code = (
        "import sys; from mmsearch.encode import load_model;"
        "load_model('open_clip:ViT-B-32/laion2b_s34b_b79k+clap:laion/clap-htsat-unfused');"
        "heavy = {'torch', 'open_clip', 'transformers', 'torchaudio', 'huggingface_hub'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.stdout.strip(), result.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "form",
    [
        "FOLDER",
        "open_clip:local-dir:FOLDER",
        "open_clip:ViT-B-32/openai=FILE",
        "clap:FOLDER",
        "gemma:FOLDER",
        "open_clip:ViT-B-32/laion2b_s34b_b79k+pe_av:FOLDER",
        "open_clip:local-dir:FOLDER+clap:laion/clap-htsat-unfused",
    ],
)
def test_an_index_whose_model_is_gone_says_how_to_name_it_anew(tmp_path: Path, form: str) -> None:
    name = re.sub("FOLDER|FILE", str(tmp_path / "gone+away"), form)
    path = tmp_path / "index"
    mmsearch.create(path, model=Model(name, fake_model().encoders)).close()
    with mmsearch.open(path) as index, pytest.raises(ModelError) as raised:
        index.search("a dog")
    assert str(raised.value) == (
        f"{path}: its model {name} is gone; if it lies elsewhere now, "
        f"`mmsearch reencode --index {path} --model {form}` says so"
    )


def test_a_checkpoint_that_has_moved_is_named_anew(tmp_path: Path) -> None:
    folder = write_clap(tmp_path / "clap")
    (tmp_path / "one.txt").write_text("a dog")
    with mmsearch.create(tmp_path / "index", model=f"clap:{folder}") as index:
        index.add(tmp_path / "one.txt")
    moved = folder.rename(tmp_path / "moved")
    with mmsearch.open(tmp_path / "index") as index:
        with pytest.raises(ModelError, match=r"--model clap:FOLDER` says so$"):
            index.search("a dog")
        index.reencode(f"clap:{moved}")
    with mmsearch.open(tmp_path / "index") as index:
        assert index.search("a dog")[0].item.path.name == "one.txt"
