"""The open_clip adapter against open_clip itself, on small random checkpoints."""

import json
import pickle
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image
from tiny_checkpoints import (
    OPEN_CLIP,
    PREPROCESS,
    embed,
    hub_cache,
    letters_tokenizer,
    pictures,
    write_open_clip,
)

import mmsearch
from mmsearch.decode import decode_part
from mmsearch.encode import load_model
from mmsearch.encode.base import LocalEncoder
from mmsearch.encode.open_clip_seeing import bounded
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Modality, Part

TEXTS = ["a dog", "Dog, dog!", "two dogs on the grass, one of them asleep in the sun", ""]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("open_clip")
    return {kind: write_open_clip(root / kind, kind) for kind in OPEN_CLIP}


def library(folder: Path) -> tuple[FloatArray, FloatArray]:
    """Embed pictures and texts as open_clip's README does."""
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    with torch.no_grad():
        image = model.encode_image(torch.stack([preprocess(one) for one in pictures()]))
        text = model.encode_text(tokenizer(TEXTS))
        image /= image.norm(dim=-1, keepdim=True)
        text /= text.norm(dim=-1, keepdim=True)
    return image.numpy(), text.numpy()


@pytest.mark.parametrize("kind", OPEN_CLIP)
def test_embeds_as_the_library_does(folders: dict[str, Path], kind: str) -> None:
    model = load_model(f"open_clip:local-dir:{folders[kind]}")
    text, image = model.encoders
    expected_image, expected_text = library(folders[kind])
    np.testing.assert_allclose(embed(image, pictures()), expected_image, atol=1e-5)
    np.testing.assert_allclose(embed(text, TEXTS), expected_text, atol=1e-5)
    assert (text.modality, image.modality) == (Modality.TEXT, Modality.IMAGE)
    assert text.space == image.space
    assert text.space.dim == expected_text.shape[1]
    assert text.space.normalized


def test_a_large_jpeg_is_indexed_as_the_library_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is decoded at a quarter of its size; at an eighth the vector is off by 3e-3."""
    import open_clip
    import torch

    vision = OPEN_CLIP["clip"]["vision_cfg"] | {"image_size": 128}
    monkeypatch.setitem(OPEN_CLIP, "large", OPEN_CLIP["clip"] | {"vision_cfg": vision})
    folder = write_open_clip(tmp_path / "large", "large")
    blocks = np.random.default_rng(0).integers(0, 255, (132, 175, 3), np.uint8)
    path = tmp_path / "large.jpg"
    fine = Image.fromarray(blocks).resize((1400, 1060), Image.Resampling.NEAREST)
    fine.save(path, quality=95)
    network, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    with torch.no_grad():
        batch = preprocess(Image.open(path)).unsqueeze(0)
        expected = network.eval().encode_image(batch, normalize=True).numpy()
    with mmsearch.create(tmp_path / "index", model=f"open_clip:local-dir:{folder}") as index:
        index.add(path)
        stored = index.embeddings().vectors
    np.testing.assert_allclose(stored, expected, atol=1.2e-3)


@pytest.mark.parametrize("kind", OPEN_CLIP)
def test_places_are_the_last_layers_patches_and_tokens(folders: dict[str, Path], kind: str) -> None:
    import open_clip
    import torch

    library, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folders[kind]}")
    library.eval()
    library.visual.output_tokens = True
    tokens = open_clip.get_tokenizer(f"local-dir:{folders[kind]}")(TEXTS)
    seen: list[torch.Tensor] = []
    written = library.text if kind == "siglip" else library
    written.ln_final.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.no_grad():
        _, patches = library.visual(torch.stack([preprocess(one) for one in pictures()]))
        library.encode_text(tokens)
    text, image = (
        cast(LocalEncoder, one)
        for one in load_model(f"open_clip:local-dir:{folders[kind]}").encoders
    )
    found = image.places([image.prepare(one) for one in pictures()])
    np.testing.assert_allclose(np.stack(found), patches.numpy(), atol=1e-5)
    lengths = [int((row != tokens[-1, -1]).sum()) for row in tokens]
    read = text.places([text.prepare(one) for one in TEXTS])
    assert [len(rows) for rows in read] == lengths
    assert lengths[0] < lengths[2] == tokens.shape[1]
    for rows, expected, length in zip(read, seen[0].numpy(), lengths, strict=True):
        np.testing.assert_allclose(rows, expected[:length], atol=1e-5)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.1, 0.35, 0.5]},
        {"std": [0.8, 0.45, 0.2]},
        {"resize_mode": "shortest"},
        {"resize_mode": "squash"},
        {"interpolation": "bicubic"},
    ],
    ids=str,
)
def test_other_preprocessing_is_noticed(
    folders: dict[str, Path], tmp_path: Path, change: dict[str, Any]
) -> None:
    image = load_model(f"open_clip:local-dir:{folders['siglip']}").encoders[1]
    altered = write_open_clip(tmp_path / "altered", "siglip", **change)
    assert np.abs(embed(image, pictures()) - library(altered)[0]).max() > 1e-3
    assert load_model(f"open_clip:local-dir:{altered}").spaces[0].sha256 != image.space.sha256


def test_other_weights_and_architecture_make_another_space(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    def sha256(folder: Path) -> str:
        return load_model(f"open_clip:local-dir:{folder}").spaces[0].sha256

    first = sha256(folders["siglip"])
    copy = Path(shutil.copytree(folders["siglip"], tmp_path / "copy"))
    assert sha256(copy) == first
    weights = copy / "open_clip_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert sha256(copy) != first
    shutil.copy(folders["siglip"] / weights.name, weights)
    config = json.loads((copy / "open_clip_config.json").read_text())
    config["model_cfg"]["quick_gelu"] = True
    (copy / "open_clip_config.json").write_text(json.dumps(config))
    assert sha256(copy) != first


@pytest.mark.parametrize(("kind", "fitting"), [("clip", 10), ("siglip", 7)])
def test_fits_until_the_tokenizer_cuts(folders: dict[str, Path], kind: str, fitting: int) -> None:
    """CLIP's tokenizer has a token for "dog"; here the other one has " " and "dog"."""
    text = load_model(f"open_clip:local-dir:{folders[kind]}").encoders[0]
    whole, cut = " ".join(["dog"] * fitting), " ".join(["dog"] * (fitting + 1))
    assert text.fits(whole)
    assert not text.fits(cut)
    assert text.fits("")
    longest = 8 * OPEN_CLIP[kind]["text_cfg"]["context_length"]
    assert text.limits.text_chars == longest


def test_a_text_of_long_words_that_fits_stays_whole(folders: dict[str, Path]) -> None:
    text = load_model(f"open_clip:local-dir:{folders['clip']}").encoders[0]
    words = " ".join(["beautiful"] * 9)  # a token each in CLIP's vocabulary
    assert text.fits(words)
    part = Part("text", Modality.TEXT, text=words)
    assert [said for _, said in decode_part(part, text.limits, text.fits)] == [words]


def test_threads_share_one_network_and_one_tokenizer(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip

    loads = []
    create = open_clip.create_model_and_transforms

    def counted(*args: Any, **options: Any) -> Any:
        loads.append(args)
        time.sleep(0.05)
        return create(*args, **options)

    monkeypatch.setattr(open_clip, "create_model_and_transforms", counted)
    text, image = load_model(f"open_clip:local-dir:{folders['siglip']}").encoders
    words = ["dog " * (7 * n % 900) for n in range(200)]
    with ThreadPoolExecutor(8) as pool:
        images = list(pool.map(image.prepare, pictures() * 4))
        texts = list(pool.map(lambda one: (text.fits(one), text.prepare(one)), words))
    text.encode([ids for _, ids in texts])
    image.encode(images)
    assert len(loads) == 1
    for word, (fits, ids) in zip(words, texts, strict=True):
        assert fits == text.fits(word)
        np.testing.assert_array_equal(ids, text.prepare(word))


@pytest.fixture
def tagged(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Make ``Tiny/unusual`` a pretrained tag of open_clip, in the cache of a machine offline."""
    import open_clip

    tag = PREPROCESS | {"hf_hub": "tests/tiny/", "resize_mode": "squash"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", OPEN_CLIP["siglip"])
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny", {"unusual": tag})
    letters = tmp_path / "letters"
    letters_tokenizer(model_max_length=1000).save_pretrained(letters)
    sources = {"tests/tiny": folders["siglip"], "tests/letters": letters}
    hub_cache(monkeypatch, tmp_path / "hub", sources)
    return tag


def test_a_tag_brings_its_preprocessing(tagged: dict[str, Any], folders: dict[str, Path]) -> None:
    """Written out by hand, because from a weights file open_clip takes OpenAI's mean and std."""
    import open_clip
    import torch

    def pixels(picture: Image.Image) -> FloatArray:
        small = np.asarray(picture.resize((32, 32), Image.Resampling.BILINEAR), np.float32) / 255
        mean, std = np.float32(tagged["mean"]), np.float32(tagged["std"])
        scaled: FloatArray = ((small - mean) / std).astype(np.float32)
        return scaled.transpose(2, 0, 1)

    network = open_clip.create_model(f"local-dir:{folders['siglip']}").eval()
    with torch.no_grad():
        batch = torch.from_numpy(np.stack([pixels(one) for one in pictures()]))
        expected = network.encode_image(batch, normalize=True).numpy()
    model = load_model("open_clip:Tiny/unusual")
    text, image = model.encoders
    np.testing.assert_allclose(embed(image, pictures()), expected, atol=1e-5)
    np.testing.assert_allclose(embed(text, TEXTS), library(folders["siglip"])[1], atol=1e-5)
    assert model.name == text.space.checkpoint == "open_clip:Tiny/unusual"


def test_a_thin_picture_is_not_made_huge(folders: dict[str, Path]) -> None:
    """Of a strip the middle counts, as in the library, which enlarges all of it first."""
    strip = pictures()[0].resize((4000, 2))
    image = load_model(f"open_clip:local-dir:{folders['clip']}").encoders[1]
    assert bounded(strip).size == (100, 2)
    assert bounded(strip.transpose(Image.Transpose.ROTATE_90)).size == (2, 100)
    assert bounded(pictures()[1]).size == pictures()[1].size
    assert np.isfinite(embed(image, [strip])).all()


def test_a_bare_file_takes_the_preprocessing_of_the_tag_that_it_is_like(
    tagged: dict[str, Any],
    folders: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And its own weights: here those of the tag with one of them changed."""
    from safetensors.torch import load_file, save_file

    state = load_file(folders["siglip"] / "open_clip_model.safetensors")
    same, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    save_file(state, same)
    state["visual.conv1.weight"] *= -1
    save_file(state, other)
    monkeypatch.chdir(tmp_path)
    whole, copied, changed = (
        load_model(f"open_clip:Tiny/unusual{like}")
        for like in ("", "=same.safetensors", "=other.safetensors")
    )
    pixels = [embed(model.encoders[1], pictures()) for model in (whole, copied, changed)]
    np.testing.assert_allclose(pixels[1], pixels[0], atol=1e-6)
    assert np.abs(pixels[2] - pixels[0]).max() > 1e-2
    hashes = [model.spaces[0].sha256 for model in (whole, copied, changed)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert copied.name == f"open_clip:Tiny/unusual={same}"
    monkeypatch.chdir("/")
    assert load_model(copied.name).spaces == copied.spaces
    with pytest.raises(ModelError, match=r"name the tag that they are like: open_clip:ARCH/TAG=/"):
        load_model(f"open_clip:{same}")
    with pytest.raises(ModelError, match=r"there is no file /nowhere"):
        load_model("open_clip:Tiny/unusual=/nowhere")


def test_a_text_tower_of_transformers_is_found_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import RobertaConfig

    make: Any = RobertaConfig
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    make(vocab_size=300, intermediate_size=16, **sizes).save_pretrained(tmp_path / "roberta")
    letters_tokenizer(model_max_length=1000).save_pretrained(tmp_path / "roberta")
    text_cfg = {"hf_model_name": "tests/roberta", "hf_tokenizer_name": "tests/roberta"}
    text_cfg |= {"hf_proj_type": "mlp", "hf_pooler_type": "mean_pooler"}
    config = OPEN_CLIP["clip"] | {"text_cfg": text_cfg}
    local = text_cfg | {"hf_model_name": str(tmp_path / "roberta"), "hf_model_pretrained": False}
    torch.manual_seed(0)
    network = open_clip.CustomTextCLIP(**(config | {"text_cfg": local})).eval()
    (tmp_path / "tiny").mkdir()
    save_file(network.state_dict(), tmp_path / "tiny" / "open_clip_model.safetensors")
    tag = PREPROCESS | {"hf_hub": "tests/tiny/"}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "Tiny", config)
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "Tiny", {"roberta": tag})
    sources = {"tests/tiny": tmp_path / "tiny", "tests/roberta": tmp_path / "roberta"}
    hub_cache(monkeypatch, tmp_path / "hub", sources)

    text = load_model("open_clip:Tiny/roberta").encoders[0]
    tokens = torch.from_numpy(np.stack([text.prepare(one) for one in TEXTS[:2]]))
    with torch.no_grad():
        expected = network.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(embed(text, TEXTS[:2]), expected, atol=1e-5)


@pytest.mark.parametrize("gone", ["tests/tiny", "tests/letters"])
def test_what_is_not_in_the_cache_is_named_at_once(
    tagged: dict[str, Any], tmp_path: Path, gone: str
) -> None:
    shutil.rmtree(tmp_path / "hub" / f"models--{gone.replace('/', '--')}")
    start = time.monotonic()
    with pytest.raises(ModelError, match=rf"^{gone} is not in the local cache .*:FOLDER$"):
        load_model("open_clip:Tiny/unusual").encoders[0].prepare("a dog")
    assert time.monotonic() - start < 5


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(ModelError, match=r"open_clip has no ViT-B-32/laion2b; .*ViT-B-32/laion2b_"):
        _ = load_model("open_clip:ViT-B-32/laion2b").spaces
    with pytest.raises(ModelError, match=r"use open_clip:ViT-B-32-quickgelu/openai$"):
        _ = load_model("open_clip:ViT-B-32/openai").spaces
    with pytest.raises(ModelError, match=r"give open_clip:ARCH/TAG, .*=FILE or open_clip:local-d"):
        load_model("open_clip:ViT-B-32")
    with pytest.raises(ModelError, match=r"there is no folder /nowhere"):
        load_model("open_clip:local-dir:/nowhere")


def test_a_folder_that_is_no_checkpoint_is_refused(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders["siglip"], tmp_path / "broken"))
    model = load_model(f"open_clip:local-dir:{folder}")
    weights, config = folder / "open_clip_model.safetensors", folder / "open_clip_config.json"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=rf"^cannot load {re.escape(str(weights))}: .*$"):
        model.encoders[1].prepare(pictures()[0])
    weights.unlink()
    with pytest.raises(ModelError, match=r"holds no weights: add its open_clip_model.safetensors"):
        _ = load_model(f"open_clip:local-dir:{folder}").spaces
    config.write_text("{")
    with pytest.raises(ModelError, match=rf"^cannot use {re.escape(str(config))}: .*$"):
        _ = load_model(f"open_clip:local-dir:{folder}").spaces


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["siglip"], tmp_path / "trap"))
    (folder / "open_clip_model.safetensors").unlink()
    weights = folder / "open_clip_pytorch_model.bin"
    weights.write_bytes(pickle.dumps({"logit_scale": Trap(tmp_path / "sprung")}))
    with pytest.raises(ModelError, match=r"^cannot load .*$"):
        load_model(f"open_clip:local-dir:{folder}").encoders[1].prepare(pictures()[0])
    assert not (tmp_path / "sprung").exists()
