"""What encoders see where: maps in their own space, and where on a picture they lie."""

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
import torch
from PIL import Image
from test_towers import make
from tiny_checkpoints import OPEN_CLIP, PREPROCESS, pictures, write_open_clip
from torch import Tensor

from mmsearch.encode import MappingEncoder, Model, load_model, open_clip_seeing
from mmsearch.encode.aligned import AlignedEncoder
from mmsearch.encode.heads import Head, HeadKind
from mmsearch.encode.seeing import WHOLE, Box, middle
from mmsearch.encode.towers.shapes import (
    Blocks,
    Convolution,
    ImageTower,
    SoundFeatures,
    Stage,
    TextTower,
    Vit,
)
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Modality, Space

TIMM = {"timm_proj": "linear", "image_size": 160}


def tower(image_size: int = 32, **vision: Any) -> Any:
    """An open_clip tower for pictures, with random weights."""
    own = {} if "timm_model_name" in vision else OPEN_CLIP["clip"]["vision_cfg"]
    torch.manual_seed(0)
    config = own | {"image_size": image_size} | vision
    return open_clip.CLIP(24, config, OPEN_CLIP["clip"]["text_cfg"]).eval().visual


def seen_by(visual: Any, side: int) -> tuple[Tensor, Tensor]:
    """The map of two pictures of noise, and their embeddings."""
    pixels = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = open_clip_seeing.maps(visual, pixels)
        assert found is not None
        return found, visual(pixels)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("vision", "side", "grid"),
    [
        ({"pool_type": "avg"}, 32, (4, 4)),
        (TIMM | {"timm_model_name": "test_vit", "timm_pool": "avg"}, 160, (10, 10)),
        (TIMM | {"timm_model_name": "test_resnet", "timm_pool": "avg"}, 96, (3, 3)),
    ],
    ids=["own", "timm-vit", "timm-resnet"],
)
def test_places_that_are_averaged_have_the_embedding_as_their_mean(
    vision: dict[str, Any], side: int, grid: tuple[int, int]
) -> None:
    found, whole = seen_by(tower(**vision), side)
    assert found.shape == (2, *grid, 24)
    assert_close(found.mean(dim=(1, 2)), whole)
    assert found.std(dim=(1, 2)).min() > 1e-3


@pytest.mark.parametrize(
    ("vision", "side"),
    [
        ({"pool_type": "avg", "final_ln_after_pool": True, "image_size": 8}, 8),
        (TIMM | {"timm_model_name": "test_convnext", "timm_pool": ""}, 32),
        (TIMM | {"timm_model_name": "test_convnext2", "timm_pool": "", "timm_proj": "mlp"}, 32),
        (TIMM | {"timm_model_name": "test_vit3", "timm_pool": "map"}, 16),
    ],
    ids=["own", "convnext", "convnext-mlp", "attention"],
)
def test_the_only_place_says_what_the_whole_does(vision: dict[str, Any], side: int) -> None:
    visual = tower(**vision)
    if vision.get("timm_pool") == "map":
        tokens: Any = {"class_token": False, "reg_tokens": 0, "num_classes": 0}  # as SigLIP's
        visual.trunk = timm.create_model("test_vit3", img_size=side, global_pool="map", **tokens)
        visual.eval()
    found, whole = seen_by(visual, side)
    assert found.shape == (2, 1, 1, 24)
    assert_close(found[:, 0, 0], whole)


@pytest.mark.parametrize("kind", [None, "custom"])
def test_a_tower_with_a_class_token_gives_the_last_layers_values(kind: str | None) -> None:
    visual = tower(block_type=kind, ls_init_value=0.3)
    into: list[Tensor] = []
    block = visual.transformer.resblocks[-1]
    block.register_forward_pre_hook(lambda module, inputs: into.append(inputs[0]))
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        visual(pixels)
        found = open_clip_seeing.maps(visual, pixels)
        assert found is not None
        x, attention = block.ln_1(into[0][:, 1:]), block.attn
        width = x.shape[2]
        values = x @ attention.in_proj_weight[2 * width :].T + attention.in_proj_bias[2 * width :]
        expected = visual.ln_post(block.ls_1(attention.out_proj(values))) @ visual.proj
    assert_close(found.flatten(1, 2), expected)


@pytest.mark.parametrize(
    ("name", "side"), [("test_vit", 160), ("eva02_tiny_patch14_224", 224)], ids=["vit", "eva"]
)
def test_so_does_one_of_timms(name: str, side: int) -> None:
    visual = tower(timm_model_name=name, timm_pool="token", timm_proj=None, image_size=side)
    into: list[Tensor] = []
    trunk = visual.trunk
    block = trunk.blocks[-1]
    block.attn.register_forward_pre_hook(lambda module, inputs: into.append(inputs[0]))
    pixels = torch.rand(1, 3, side, side)
    with torch.inference_mode():
        visual(pixels)
        found = open_clip_seeing.maps(visual, pixels)
        assert found is not None
        x, attention = into[0][:, trunk.num_prefix_tokens :], block.attn
        if attention.qkv is None:
            values = attention.norm(attention.v_proj(x))
        else:
            values = attention.qkv(x)[..., 2 * x.shape[2] :]
        expected = trunk.head(trunk.fc_norm(trunk.norm(attention.proj(values))))
    assert_close(found.flatten(1, 2), expected)


def test_a_pooling_attention_gives_its_values() -> None:
    visual = tower(attentional_pool=True, attn_pooler_heads=4, attn_pooler_queries=3)
    pool = visual.attn_pool
    into: list[Tensor] = []
    pool.register_forward_pre_hook(lambda module, inputs: into.append(inputs[0]))
    pixels = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        visual(pixels)
        found = open_clip_seeing.maps(visual, pixels)
        assert found is not None
        bias = pool.attn.in_proj_bias[-24:]
        values = pool.ln_k(into[0][:, 1:]) @ pool.attn.v_proj_weight.T + bias
        expected = visual.ln_post(pool.attn.out_proj(values)) @ visual.proj
    assert_close(found.flatten(1, 2), expected)


def test_so_does_that_of_a_resnet() -> None:
    """One that attends to all places alike averages their values."""
    visual = tower(layers=[1, 1, 1, 1], width=8, head_width=16, image_size=96)
    for parameter in (*visual.attnpool.q_proj.parameters(), visual.attnpool.positional_embedding):
        torch.nn.init.zeros_(parameter)
    found, whole = seen_by(visual, 96)
    assert found.shape == (2, 3, 3, 24)
    assert_close(found.mean(dim=(1, 2)), whole)


def test_a_tower_without_places_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = {"attentional_pool": "parallel", "attn_pooler_heads": 4}
    vision = OPEN_CLIP["clip"]["vision_cfg"] | pooled
    monkeypatch.setitem(OPEN_CLIP, "clip", OPEN_CLIP["clip"] | {"vision_cfg": vision})
    encoder = mapping(load_model(f"open_clip:local-dir:{write_open_clip(tmp_path / 'c', 'clip')}"))
    with pytest.raises(ModelError, match="gives no heat maps: it does not tell the places"):
        encoder.maps([np.zeros((3, 32, 32), np.float32)])


def mapping(model: Model) -> MappingEncoder:
    """The model's encoder of pictures."""
    encoder = next(one for one in model.encoders if one.modality is Modality.IMAGE)
    assert isinstance(encoder, MappingEncoder)
    return encoder


@pytest.mark.parametrize("kind", OPEN_CLIP)
def test_an_adapters_maps_are_of_unit_length(tmp_path: Path, kind: str) -> None:
    encoder = mapping(load_model(f"open_clip:local-dir:{write_open_clip(tmp_path / kind, kind)}"))
    found = encoder.maps([encoder.prepare(one) for one in pictures()])
    rows = {"clip": 4, "siglip": 2}[kind]
    assert {places.shape for places in found} == {(rows, rows, encoder.space.dim)}
    assert found[0].dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(np.stack(found), axis=3), 1, atol=1e-5)


@pytest.mark.parametrize("image", ImageTower)
def test_our_towers_apply_their_head_to_each_place(tmp_path: Path, image: ImageTower) -> None:
    encoder: Any = mapping(make(tmp_path, TextTower.TABLE, image, SoundFeatures.LOG_MEL))
    prepared = [encoder.prepare(one) for one in pictures()]
    found = encoder.maps(prepared)
    rows = {ImageTower.CONVOLUTION: 2, ImageTower.VIT: 4}[image]
    assert {places.shape for places in found} == {(rows, rows, 16)}
    head = encoder._network()._tower.head
    for places, before in zip(found, encoder.places(prepared), strict=True):
        with torch.no_grad():
            expected = torch.nn.functional.normalize(head(torch.tensor(before)), dim=1)
        np.testing.assert_allclose(places.reshape(-1, 16), expected, atol=1e-5)
    assert encoder.seen((64, 64)) == WHOLE
    assert encoder.seen((300, 100)) == pytest.approx((1 / 6, 0, 5 / 6, 1))


def test_the_embedded_models_places_have_the_embedding_as_their_mean() -> None:
    encoder: Any = mapping(load_model("mini"))
    prepared = [encoder.prepare(one) for one in pictures()]
    head = encoder._network()._tower.head
    for rows, whole in zip(encoder.places(prepared), encoder.encode(prepared), strict=True):
        with torch.no_grad():
            mean = head(torch.tensor(rows).mean(dim=0)).numpy()
        np.testing.assert_allclose(mean / np.linalg.norm(mean), whole, atol=1e-5)


def test_places_may_hang_over_a_side_or_fall_short_of_it() -> None:
    assert Vit(Blocks(8, 1, 1), patch=8).reach(112) == 1
    assert Vit(Blocks(8, 1, 1), patch=16).reach(104) == 96 / 104
    shape = Convolution(3, 8, (Stage(8, 1, stride=1), Stage(8, 1), Stage(8, 1)))
    assert shape.reach(112) == 1
    assert shape.reach(104) == 112 / 104
    assert Box(0.2, 0.0, 0.8, 1.0).first(0.5, 0.9) == pytest.approx((0.2, 0.0, 0.5, 0.9))
    patches = tower(timm_model_name="test_vit", timm_pool="avg", image_size=160)
    assert open_clip_seeing.reach(patches, (40, 70)) == (64 / 70, 32 / 40)
    assert open_clip_seeing.reach(tower(), (32, 32)) == (1, 1)


def gradient(size: tuple[int, int]) -> Image.Image:
    """A picture that is redder to the right and greener to the bottom."""
    width, height = size
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray((255 * np.stack([x, y, 0 * x], axis=2)).astype(np.uint8))


def places_of(pixels: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where on the picture the columns and the rows of what a network takes come from."""
    return pixels[0].mean(axis=0), pixels[1].mean(axis=1)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [(90, 48), (64, 100), (40, 40), (800, 8)])
def test_a_map_lies_where_the_transform_has_looked(
    tmp_path: Path, mode: str, size: tuple[int, int]
) -> None:
    folder = write_open_clip(tmp_path / "clip", "clip", resize_mode=mode, fill_color=0)
    encoder = mapping(load_model(f"open_clip:local-dir:{folder}"))
    pixels = encoder.prepare(gradient(size))
    mean, std = (np.array(PREPROCESS[name])[:, None, None] for name in ("mean", "std"))
    shown = pixels * std + mean
    box = encoder.seen(size)
    inside = shown.sum(axis=0) > 0.01 if mode == "longest" else np.ones(shown.shape[1:], bool)
    rows, columns = np.nonzero(inside)
    across = box.left + (columns + 0.5) / 32 * (box.right - box.left)
    down = box.top + (rows + 0.5) / 32 * (box.bottom - box.top)
    pixel_x, pixel_y = (abs(box.right - box.left) / 32, abs(box.bottom - box.top) / 32)
    assert np.abs(shown[0][rows, columns] - across).max() < pixel_x + 0.02
    assert np.abs(shown[1][rows, columns] - down).max() < pixel_y + 0.02


@pytest.mark.parametrize("size", [(90, 48), (300, 100), (100, 300)])
def test_a_map_lies_where_our_towers_have_looked(size: tuple[int, int]) -> None:
    encoder = mapping(load_model("mini"))
    shown = encoder.prepare(gradient(size)).astype(np.float32) / 255
    box, side = encoder.seen(size), len(shown)
    at = (np.arange(side) + 0.5) / side
    assert np.abs(shown[:, :, 0] - (box.left + at * (box.right - box.left))).max() < 0.02
    down = (box.top + at * (box.bottom - box.top))[:, None]
    assert np.abs(shown[:, :, 1] - down).max() < 0.02


def test_the_middle_of_a_picture() -> None:
    assert middle((200, 100), 100, 100) == (0.25, 0, 0.75, 1)
    assert middle((100, 50), 100, 100) == (0, -0.5, 1, 1.5)


def test_a_head_behind_an_encoder_moves_each_place() -> None:
    base = load_model("mini").encoders[1]
    rng = np.random.default_rng(0)
    arrays = {
        "in.weight": rng.normal(size=(20, 256)).astype(np.float32),
        "in.bias": rng.normal(size=20).astype(np.float32),
    }
    head, space = Head(HeadKind.LINEAR, arrays), Space("aligned", 20, True, "heads", "0")
    encoder = AlignedEncoder([base], head, space)
    prepared = [encoder.prepare(one) for one in pictures()]
    assert isinstance(base, MappingEncoder)
    bare = base.maps([only for (only,) in prepared])
    for places, before in zip(encoder.maps(prepared), bare, strict=True):
        assert places.shape == (7, 7, 20)
        np.testing.assert_allclose(places[2, 3], head(before[2, 3][None])[0], atol=1e-5)
    assert encoder.seen((300, 100)) == base.seen((300, 100))
    with pytest.raises(ModelError, match="heads gives no heat maps"):
        AlignedEncoder([base, base], head, space).maps([])
