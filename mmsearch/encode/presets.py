"""Models by short names: which checkpoints, and what they are good for (docs/models.md)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """A choice of checkpoints under a short name.

    Attributes:
        name: What ``--model`` takes.
        model: The whole name, which an index stores.
        dims: Of its spaces, with what meets there.
        licence: Of the weights.
        size: Of the download, about.
        good_for: What to choose it for.
        repositories: Of the hub, that hold its weights.
    """

    name: str
    model: str
    dims: str
    licence: str
    size: str
    good_for: str
    repositories: tuple[str, ...] = ()


_EVERY = (
    Preset(
        "mini",
        "mini",
        "text, image, audio: 256",
        "Apache-2.0",
        "none",
        "trying things out, offline, on any machine",
    ),
    Preset(
        "clip",
        "open_clip:ViT-B-32/laion2b_s34b_b79k+clap:laion/clap-htsat-unfused",
        "text, image: 512; text, audio: 512",
        "MIT; Apache-2.0",
        "1.2 GB",
        "speed on a CPU; English",
        ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "laion/clap-htsat-unfused"),
    ),
    Preset(
        "siglip2",
        "open_clip:ViT-B-16-SigLIP2-256/webli+clap:laion/clap-htsat-unfused",
        "text, image: 768; text, audio: 512",
        "Apache-2.0",
        "2.1 GB",
        "most uses (recommended); pictures by words of 109 languages",
        ("timm/ViT-B-16-SigLIP2-256", "laion/clap-htsat-unfused"),
    ),
    Preset(
        "quality",
        "open_clip:PE-Core-L-14-336/meta+pe_av:facebook/pe-av-small",
        "text, image: 1024; text, audio: 1024",
        "Apache-2.0",
        "6 GB",
        "the best hits for pictures, on a GPU; English",
        ("timm/PE-Core-L-14-336", "facebook/pe-av-small"),
    ),
    Preset(
        "gemma",
        "gemma:google/embeddinggemma-2",
        "text, image, audio: 768",
        "Apache-2.0",
        "1.5 GB",
        "long texts and speech, many languages; pictures and sounds in one space",
        ("google/embeddinggemma-2",),
    ),
)

REPOSITORIES = {
    part: repository
    for preset in _EVERY
    if preset.repositories
    for part, repository in zip(preset.model.split("+"), preset.repositories, strict=True)
}
"""Where the weights of a preset's parts are on the hub, known before a library is imported."""

PRESETS = {preset.name: preset for preset in _EVERY}
