"""Small random checkpoints in the formats of the real ones, and a hub cache to put them in."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmsearch.records import FloatArray, Sound

REVISION = "0123456789abcdef0123456789abcdef01234567"

OPEN_CLIP: dict[str, dict[str, Any]] = {
    "clip": {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16}
        | {"patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2}
        | {"layers": 1},
    },
    "siglip": {
        "embed_dim": 20,
        "init_logit_bias": -10,
        "custom_text": True,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16}
        | {"patch_size": 16, "pool_type": "avg", "patch_dropout": 0.5},
        "text_cfg": {"context_length": 16, "vocab_size": 300, "width": 32, "heads": 2}
        | {"layers": 1, "no_causal_mask": True, "pool_type": "last", "proj_bias": True}
        | {"hf_tokenizer_name": "tests/letters", "tokenizer_kwargs": {"clean": "canonicalize"}},
    },
}
"""open_clip's ``model_cfg`` in its two usual shapes: own tokenizer, and transformers'."""

PREPROCESS: dict[str, Any] = {
    "mean": [0.1, 0.35, 0.6],
    "std": [0.9, 0.45, 0.2],
    "interpolation": "bilinear",
    "resize_mode": "longest",
}
"""Unlike any default, so that a default in its place is noticed."""


def _seed() -> None:
    """Make torch repeatable, and one thread: on networks this small others only wait."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)


def letters_tokenizer(model_max_length: int) -> Any:
    """A RoBERTa tokenizer of single letters and ``dog``."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokens = [*special, *sorted(ByteLevel.alphabet()), "do", "dog"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    make: Any = RobertaTokenizer
    merges = [("d", "o"), ("do", "g")]
    return make(vocab=vocabulary, merges=merges, model_max_length=model_max_length)


def write_open_clip(folder: Path, kind: str, **changes: Any) -> Path:
    """Write a checkpoint as ``open_clip.push_to_hf_hub`` does; ``changes`` go to preprocessing."""
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir()
    config = OPEN_CLIP[kind]
    _seed()
    arguments = {key: value for key, value in config.items() if key != "custom_text"}
    make = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    state = make(**arguments).state_dict()
    save_file({key: value.contiguous() for key, value in state.items()},
              folder / "open_clip_model.safetensors")  # fmt: skip
    settings = {"model_cfg": config, "preprocess_cfg": PREPROCESS | changes}
    (folder / "open_clip_config.json").write_text(json.dumps(settings))
    if config["text_cfg"].get("hf_tokenizer_name"):
        letters_tokenizer(model_max_length=1000).save_pretrained(folder)
    return folder


def write_clap(
    folder: Path,
    fused: bool = False,
    positions: int = 26,
    model_max_length: int = 24,
    **changes: Any,
) -> Path:
    """Write a checkpoint with ``save_pretrained``; ``changes`` go to the feature extractor.

    RoBERTa's positions begin at 2, so the defaults are of one context.
    """
    from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, ClapProcessor
    from transformers.utils import logging

    settings: dict[str, Any] = {
        "feature_size": 16,
        "sampling_rate": 8000,
        "hop_length": 80,
        "max_length_s": 2,
        "fft_window_size": 256,
        "frequency_min": 50,
        "frequency_max": 3500,
        "truncation": "fusion" if fused else "rand_trunc",
        "padding": "repeatpad",
    }
    audio = {"num_mel_bins": 16, "spec_size": 64, "window_size": 4, "depths": [1, 1]}
    audio |= {"num_attention_heads": [2, 2], "patch_embeds_hidden_size": 16, "hidden_size": 32}
    audio |= {"num_hidden_layers": 2, "enable_fusion": fused}
    audio |= {"fusion_type": "aff_2d" if fused else None}
    text = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1}
    text |= {
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": positions,
    }
    _seed()
    make_config: Any = ClapConfig
    config = make_config(text_config=text, audio_config=audio, projection_dim=24)
    bars: Any = logging
    bars.disable_progress_bar()
    ClapModel(config).save_pretrained(folder)
    bars.enable_progress_bar()
    extractor = ClapFeatureExtractor(**settings | changes)
    make_processor: Any = ClapProcessor
    make_processor(extractor, letters_tokenizer(model_max_length)).save_pretrained(folder)
    return folder


def write_blip(folder: Path, make: str = "BlipForImageTextRetrieval") -> Path:
    """Write a checkpoint with ``save_pretrained``; ``make`` names transformers' class."""
    import torch
    import transformers
    from transformers.utils import logging

    vision = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision |= {"intermediate_size": 32, "image_size": 32, "patch_size": 8}
    text = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"intermediate_size": 32, "max_position_embeddings": 26, "bos_token_id": 2}
    lib: Any = transformers
    _seed()
    network = getattr(lib, make)(lib.BlipConfig(text_config=text, vision_config=vision))
    for weights in network.parameters():
        if weights.dim() > 1:  # BLIP's own start is so near to 0 that all pairs are alike
            torch.nn.init.normal_(weights, std=0.3)
    bars: Any = logging
    bars.disable_progress_bar()
    network.save_pretrained(folder)
    bars.enable_progress_bar()
    letters = [chr(number) for number in range(ord("a"), ord("z") + 1)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{x}" for x in letters)]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = lib.BertTokenizer(vocab=vocabulary, model_max_length=24)
    prepares = lib.BlipImageProcessor(size={"height": 32, "width": 32})
    lib.BlipProcessor(prepares, tokenizer).save_pretrained(folder)
    return folder


def pictures() -> list[Image.Image]:
    """RGB pictures that are wide, high, and smaller than the network's square."""
    rng = np.random.default_rng(0)
    shapes = [(48, 90, 3), (100, 40, 3), (20, 24, 3)]
    return [Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)) for shape in shapes]


def sounds() -> list[Sound]:
    """Sounds of odd rates: a third of a window, nearly one, and exactly one (2 s)."""
    rng = np.random.default_rng(0)
    return [_chirp(rng, 0.61, 11_025), _chirp(rng, 1.87, 8_000), _chirp(rng, 2.0, 22_050)]


def _chirp(rng: np.random.Generator, seconds: float, rate_hz: int) -> Sound:
    time_s = np.arange(int(seconds * rate_hz)) / rate_hz
    samples = np.sin(2 * np.pi * (300 + 500 * time_s) * time_s) + 0.1 * rng.normal(size=len(time_s))
    return Sound(samples.astype(np.float32), rate_hz)


def embed(encoder: Any, inputs: Sequence[Any]) -> FloatArray:
    """Prepare each input and embed them as one batch."""
    embeddings: FloatArray = encoder.encode([encoder.prepare(one) for one in inputs])
    return embeddings


def hub_cache(monkeypatch: pytest.MonkeyPatch, root: Path, repositories: dict[str, Path]) -> None:
    """Stand in for a machine without a network whose hub cache holds these repositories."""
    from huggingface_hub import constants

    for repo_id, source in repositories.items():
        repository = root / f"models--{repo_id.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(REVISION)
        (repository / "snapshots").mkdir()
        (repository / "snapshots" / REVISION).symlink_to(source, target_is_directory=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
