"""OpenCLIP checkpoints: texts and pictures in one visual space."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Image

from mmsearch.config import InputLimits
from mmsearch.encode import open_clip_seeing
from mmsearch.encode.base import Model
from mmsearch.encode.checkpoint import CheckpointEncoder
from mmsearch.encode.compute import Compute
from mmsearch.encode.hub import TOKENIZER, TOKENIZER_EXTRAS, hub_folder
from mmsearch.encode.open_clip_recipe import LIKE, LOCAL, Recipe, fetch_preset, find_recipe
from mmsearch.encode.seeing import Box, no_map
from mmsearch.encode.torch_ import (
    MOST_CHARS_PER_TOKEN,
    Lazy,
    identity_sha256,
    load_error,
    one_line,
    unit_rows,
    vocabulary_sha256,
)
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray, Modality, Space

if TYPE_CHECKING:
    from numpy.typing import NDArray


OWN_FOLDER = f"open_clip:{LOCAL}FOLDER"
"""What to name instead of a tag whose tokenizer is out of reach."""


class Checkpoint:
    """One open_clip checkpoint: recipe, tokenizer and network, each loaded once, on first use."""

    def __init__(self, name: str, compute: Compute) -> None:
        self.name = name
        self.compute = compute
        self.recipe = Lazy(lambda: find_recipe(name))
        self.tokenizer = Lazy(self._load_tokenizer)
        self.network = Lazy(self._load_network)
        self.space = Lazy(self._describe)
        self._fetched = Lazy(lambda: fetch_preset(name))

    def fetch(self) -> None:
        """Look for a preset's weights; those of others come with the recipe."""
        self._fetched()

    def _load_tokenizer(self) -> "Tokenizer":
        return Tokenizer(self.name, self.recipe())

    def _load_network(self) -> tuple[Any, Any]:
        """Return open_clip's module in evaluation mode and its transform for pictures."""
        import open_clip

        recipe = self.recipe()
        settings = _text_tower_settings(recipe)
        try:
            # From a file open_clip takes OpenAI's mean and standard deviation, whatever the tag
            # says, so they are always passed on.
            network, _, transform = open_clip.create_model_and_transforms(
                recipe.architecture,
                pretrained=None if recipe.is_local else str(recipe.weights),
                image_mean=tuple(recipe.preprocess["mean"]),
                image_std=tuple(recipe.preprocess["std"]),
                image_interpolation=recipe.preprocess["interpolation"],
                image_resize_mode=recipe.preprocess["resize_mode"],
                **settings,
            )
        except Exception as error:  # torch, safetensors and open_clip raise many kinds
            raise load_error(recipe.weights, error) from error
        return self.compute.place(network), transform

    def _describe(self) -> Space:
        recipe, tokenizer = self.recipe(), self.tokenizer()
        settings = recipe.settings() | {
            "context_length": tokenizer.context_length,
            "vocabulary": vocabulary_sha256(tokenizer.vocabulary),
        }
        return Space(
            name="visual",
            dim=recipe.model_cfg["embed_dim"],
            normalized=True,
            checkpoint=f"open_clip:{self.name}",
            sha256=identity_sha256(recipe.weights, settings),
        )


class Tokenizer:
    """The checkpoint's tokenizer, usable from several threads."""

    def __init__(self, name: str, recipe: Recipe) -> None:
        try:
            self._tokenizer = _read_tokenizer(recipe)
        except ModelError:
            raise
        except Exception as error:  # transformers raises many kinds
            raise ModelError(
                f"cannot load the tokenizer of open_clip:{name}: {one_line(error)}"
            ) from error
        self._hugging_face = getattr(self._tokenizer, "tokenizer", None)
        # A tokenizer keeps the last call's truncation: unlocked, one text in six came out wrong.
        # https://github.com/huggingface/tokenizers/issues/537
        self._lock = Lock()

    @property
    def context_length(self) -> int:
        """Tokens of a text that the network sees, special ones included."""
        return int(self._tokenizer.context_length)

    @property
    def vocabulary(self) -> Mapping[str, int]:
        """The number of every token."""
        vocabulary: Mapping[str, int] = (
            self._hugging_face.get_vocab() if self._hugging_face else self._tokenizer.encoder
        )
        return vocabulary

    def ids(self, text: str) -> "NDArray[np.int64]":
        """Return the (context_length,) token numbers, cut and padded as the checkpoint does."""
        with self._lock:
            ids: NDArray[np.int64] = self._tokenizer([text])[0].numpy()
        return ids

    def length(self, text: str) -> int:
        """How many tokens the whole text has, special ones included."""
        if self._hugging_face is None:
            return len(self._tokenizer.encode(text)) + 2  # start and end of text
        clips = self._tokenizer.tokenizer_mode == "clips"
        with self._lock:
            encoded = self._hugging_face(
                self._tokenizer.clean_fn(text), add_special_tokens=not clips, verbose=False
            )
        return len(encoded.input_ids) + (3 if clips else 0)  # start, end, class


class TextEncoder(CheckpointEncoder[Checkpoint]):
    """Texts in the visual space."""

    modality = Modality.TEXT
    batch_size = 64

    @property
    def limits(self) -> InputLimits:
        """More than the context holds, as a rule: ``fits`` decides."""
        context = self._checkpoint.tokenizer().context_length
        return InputLimits(text_chars=MOST_CHARS_PER_TOKEN * context)

    def fits(self, text: str) -> bool:
        """Whether the tokenizer keeps the whole text."""
        tokenizer = self._checkpoint.tokenizer()
        return tokenizer.length(text) <= tokenizer.context_length

    def prepare(self, decoded: str) -> "NDArray[np.int64]":
        """Turn a text into (context_length,) int64 token numbers."""
        return self._checkpoint.tokenizer().ids(decoded)

    def encode(self, prepared: Sequence["NDArray[np.int64]"]) -> FloatArray:
        """Embed n texts: (n, dim) float32, L2-normalised rows."""
        (network, _), compute = self._checkpoint.network(), self._checkpoint.compute
        with compute.inference():
            return unit_rows(network.encode_text(compute.tensor(np.stack(prepared))))

    def places(self, prepared: Sequence["NDArray[np.int64]"]) -> list[FloatArray]:
        """What the last layer says of each token, padding left out: (tokens, width) float32."""
        (network, _), compute = self._checkpoint.network(), self._checkpoint.compute
        padding = self._checkpoint.tokenizer().ids("")[-1]
        ids = np.stack(prepared)
        with compute.inference():
            rows = _last_layer(network, "text", compute.tensor(ids))
        return [row[line != padding] for row, line in zip(rows, ids, strict=True)]


class ImageEncoder(CheckpointEncoder[Checkpoint]):
    """Pictures in the visual space."""

    modality = Modality.IMAGE
    batch_size = 32

    @property
    def limits(self) -> InputLimits:
        """Twice the side that the checkpoint resizes to."""
        size = self._checkpoint.recipe().image_size
        return InputLimits(image_side=2 * (size if isinstance(size, int) else max(size)))

    def prepare(self, decoded: Image) -> FloatArray:
        """Apply the checkpoint's own transform to an RGB picture: (3, height, width) float32."""
        _, transform = self._checkpoint.network()
        pixels: FloatArray = transform(open_clip_seeing.bounded(decoded)).numpy()
        return pixels

    def encode(self, prepared: Sequence[FloatArray]) -> FloatArray:
        """Embed n pictures: (n, dim) float32, L2-normalised rows."""
        (network, _), compute = self._checkpoint.network(), self._checkpoint.compute
        with compute.inference():
            return unit_rows(network.encode_image(compute.tensor(np.stack(prepared))))

    def places(self, prepared: Sequence[FloatArray]) -> list[FloatArray]:
        """What the last layer says of each patch: (patches, width) float32."""
        (network, _), compute = self._checkpoint.network(), self._checkpoint.compute
        with compute.inference():
            return list(_last_layer(network, "image", compute.tensor(np.stack(prepared))))

    def maps(self, prepared: Sequence[FloatArray]) -> list[FloatArray]:
        """Embed each place of n pictures: (rows, columns, dim) float32, L2-normalised, each."""
        (network, _), compute = self._checkpoint.network(), self._checkpoint.compute
        with compute.inference():
            pixels = compute.tensor(np.stack(prepared))
            found = open_clip_seeing.maps(network.visual, pixels)
            if found is None:
                raise no_map(self.space.checkpoint)
            return list(unit_rows(found))

    def seen(self, size: tuple[int, int]) -> Box:
        """What the checkpoint's transform keeps of a picture, and its patches cover."""
        recipe, (network, _) = self._checkpoint.recipe(), self._checkpoint.network()
        side = recipe.image_size
        sides = (side, side) if isinstance(side, int) else (side[0], side[1])
        kept = open_clip_seeing.seen(size, recipe.preprocess["resize_mode"], sides)
        return kept.first(*open_clip_seeing.reach(network.visual, sides))


def _last_layer(network: Any, side: str, inputs: Any) -> FloatArray:
    """The last hidden states of a tower: (n, places, width) float32."""
    found = network.forward_intermediates(
        **{side: inputs, f"{side}_indices": 1},
        intermediates_only=True,
        normalize_intermediates=True,
        image_output_fmt="NLC",
    )
    rows: FloatArray = found[f"{side}_intermediates"][-1].float().cpu().numpy()
    return rows


def load(name: str, compute: Compute) -> Model:
    """Make the model of an open_clip checkpoint; its files are first read when they are needed.

    Args:
        name: ``ARCH/TAG``, ``ARCH/TAG=FILE`` (weights of one's own, preprocessing of the tag) or
            ``local-dir:PATH``.
        compute: What its networks run on.

    Raises:
        ModelError: The name is none of these, or what it names does not exist.
    """
    name = _resolved(name)
    checkpoint = Checkpoint(name, compute)
    return Model(f"open_clip:{name}", (TextEncoder(checkpoint), ImageEncoder(checkpoint)))


def _resolved(name: str) -> str:
    """The name with absolute paths, so that it holds in any working directory."""
    if name.startswith(LOCAL):
        folder = Path(name.removeprefix(LOCAL)).expanduser().absolute()
        if not folder.is_dir():
            raise ModelError(f"open_clip:{name}: there is no folder {folder}")
        return f"{LOCAL}{folder}"
    tagged, like, file = name.partition(LIKE)
    if Path(tagged).is_file():
        raise ModelError(
            f"open_clip:{name}: weights alone do not say how pictures are prepared for them; name "
            f"the tag that they are like: open_clip:ARCH/TAG={name}"
        )
    if not all(tagged.partition("/")) or (like and not file):
        raise ModelError(
            f"open_clip:{name}: give open_clip:ARCH/TAG, open_clip:ARCH/TAG=FILE or "
            f"open_clip:{LOCAL}PATH"
        )
    path = Path(file).expanduser().absolute()
    if like and not path.is_file():
        raise ModelError(f"open_clip:{name}: there is no file {path}")
    return f"{tagged}{LIKE}{path}" if like else tagged


def _read_tokenizer(recipe: Recipe) -> Any:
    """Do as ``open_clip.get_tokenizer``, but look for a tokenizer of the hub in the cache first.

    Given a hub id, transformers asks the hub each time, and without a network it needs 45 s to
    give up; told to use the cache alone, it fails on repositories without a config.json, as
    SigLIP's are. So it gets the folder.
    """
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    text_cfg = recipe.text_cfg
    repo_id = text_cfg.get("hf_tokenizer_name")
    if recipe.is_local or not repo_id:
        return open_clip.get_tokenizer(recipe.architecture)
    return HFTokenizer(
        str(hub_folder(repo_id, [TOKENIZER], TOKENIZER_EXTRAS, instead=OWN_FOLDER)),
        context_length=text_cfg.get("context_length", DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text_cfg.get("tokenizer_mode"),
        **text_cfg.get("tokenizer_kwargs", {}),
    )


def _text_tower_settings(recipe: Recipe) -> dict[str, Any]:
    """Point a text tower of transformers at its configuration in the cache.

    Given a hub id, the tower would ask the hub again on every load.
    """
    repo_id = recipe.text_cfg.get("hf_model_name")
    if not repo_id or Path(repo_id).is_dir():
        return {}
    folder = hub_folder(repo_id, [("config.json",)], instead=OWN_FOLDER)
    overrides = {"hf_model_name": str(folder), "hf_model_pretrained": False}
    return {"text_cfg": recipe.text_cfg | overrides}
