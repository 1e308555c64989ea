"""What an OpenCLIP checkpoint's vectors depend on, found without loading its network."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from mmsearch.encode.hub import hub_folder
from mmsearch.encode.presets import REPOSITORIES
from mmsearch.encode.torch_ import one_line
from mmsearch.errors import ModelError

LOCAL = "local-dir:"
LIKE = "="
"""Between a tag and a weights file of its architecture, which does not tell its preprocessing."""

SAFE, UNSAFE = "open_clip_model.safetensors", "open_clip_pytorch_model.bin"
"""open_clip's names of weights files, without its import."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a checkpoint's vectors depend on, known before its network is loaded.

    Attributes:
        architecture: open_clip's name of it: ARCH, or ``local-dir:PATH``.
        model_cfg: The architecture's ``embed_dim``, ``vision_cfg``, ``text_cfg``, ...
        preprocess: ``mean``, ``std``, ``resize_mode``, ``interpolation``, ... for pictures.
        weights: The weights file.
    """

    architecture: str
    model_cfg: dict[str, Any]
    preprocess: dict[str, Any]
    weights: Path

    @property
    def text_cfg(self) -> dict[str, Any]:
        """The architecture's settings for texts."""
        text_cfg: dict[str, Any] = self.model_cfg["text_cfg"]
        return text_cfg

    @property
    def image_size(self) -> int | list[int]:
        """Pixels of a side, or height and width."""
        size: int | list[int] = self.model_cfg["vision_cfg"].get("image_size", 224)
        return size

    @property
    def is_local(self) -> bool:
        """Whether the checkpoint is a folder of the user's."""
        return self.architecture.startswith(LOCAL)

    def settings(self) -> dict[str, Any]:
        """What the space's hash covers besides weights and vocabulary.

        A built-in architecture goes by its name, so that a newer open_clip that only writes its
        settings differently does not orphan an index.
        """
        return {
            "architecture": self.model_cfg if self.is_local else self.architecture,
            "image_size": self.image_size,
            "preprocess": self.preprocess,
            "tokenizer_kwargs": self.text_cfg.get("tokenizer_kwargs", {}),
            "tokenizer_mode": self.text_cfg.get("tokenizer_mode"),
        }


def find_recipe(name: str) -> Recipe:
    """Find the recipe of a checkpoint, downloading its weights unless they are in the cache.

    Args:
        name: ``ARCH/TAG``, ``ARCH/TAG=FILE`` or ``local-dir:PATH``.

    Raises:
        ModelError: There is no such checkpoint, or it is incomplete or out of reach.
    """
    if name.startswith(LOCAL):
        return _local_recipe(Path(name.removeprefix(LOCAL)))
    tagged, _, file = name.partition(LIKE)
    architecture, _, tag = tagged.partition("/")
    return _tagged_recipe(architecture, tag, Path(file) if file else None)


def fetch_preset(name: str) -> None:
    """Look for the weights of a preset's checkpoint, and download them if they are not there.

    For others open_clip has to say where they are, and its import takes 5 s.

    Raises:
        ModelError: They are not in the cache and cannot be downloaded.
    """
    if repository := REPOSITORIES.get(f"open_clip:{name}"):
        _hub_weights(f"{repository}/", name)


def instead(name: str) -> str:
    """Names of models that take the user's own files in place of a tag's."""
    return f"open_clip:{name}{LIKE}FILE or open_clip:{LOCAL}FOLDER"


def _local_recipe(folder: Path) -> Recipe:
    from open_clip import factory

    config = folder / "open_clip_config.json"
    try:
        settings = json.loads(config.read_text("utf-8"))
        model_cfg, preprocess = settings["model_cfg"], settings.get("preprocess_cfg", {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot use {config}: {one_line(error)}") from error
    # The library's own choice, although private: the hash must be of the file that it loads.
    weights = factory._find_checkpoint_in_dir(folder)
    if weights is None:  # open_clip would go on with random weights
        raise ModelError(f"{folder} holds no weights: add its open_clip_model.safetensors")
    return Recipe(f"{LOCAL}{folder}", model_cfg, _preprocessing(preprocess), Path(weights))


def _tagged_recipe(architecture: str, tag: str, file: Path | None) -> Recipe:
    name = f"{architecture}/{tag}"
    if not file:
        fetch_preset(name)
    import open_clip

    pretrained = open_clip.get_pretrained_cfg(architecture, tag)
    if not pretrained:
        names = ["/".join(pair) for pair in open_clip.list_pretrained()]
        nearest = get_close_matches(name, names, n=3, cutoff=0.3)
        raise ModelError(
            f"open_clip has no {name}; the nearest of its {len(names)} are {', '.join(nearest)}"
        )
    model_cfg = open_clip.get_model_config(architecture)
    if pretrained.get("quick_gelu") and not model_cfg.get("quick_gelu"):
        raise ModelError(
            f"open_clip:{name} was trained with another activation (QuickGELU):"
            f" use open_clip:{architecture}-quickgelu/{tag}"
        )
    weights = file or _hub_weights(pretrained["hf_hub"], name)
    return Recipe(architecture, model_cfg, _preprocessing(pretrained), weights)


def _hub_weights(location: str, name: str) -> Path:
    """Return the file of an open_clip ``OWNER/NAME/FILE`` (no FILE: the default), safe one first.

    The order is that of ``open_clip.pretrained.download_pretrained_from_hf``.
    """
    repo_id, _, file = location.rpartition("/")
    file = file or UNSAFE
    safe = SAFE if file == UNSAFE else f"{Path(file).stem}.safetensors"
    folder = hub_folder(repo_id, [(safe, file)], instead=instead(name))
    return next(folder / name for name in (safe, file) if (folder / name).is_file())


def _preprocessing(overlay: Mapping[str, Any]) -> dict[str, Any]:
    """Complete a checkpoint's preprocessing with open_clip's defaults.

    The size is left out: open_clip takes the network's.
    """
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    merged: dict[str, Any] = merge_preprocess_dict(PreprocessCfg(), overlay)
    return {key: value for key, value in merged.items() if key != "size"}
