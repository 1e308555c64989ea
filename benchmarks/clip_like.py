"""Vectors such as CLIP makes: clusters of uneven size, a decaying spectrum, and a modality gap.

Pictures and texts of one meaning share a latent vector, but each modality lies around a mean of its
own (Liang et al. 2022, "Mind the gap", arXiv 2203.02053): a text is far from every picture, and so
outside of the distribution that a quantiser of pictures was trained on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmsearch.records import FloatArray

DIM = 512
CLUSTERS = 4_000
BLOCK_ROWS = 50_000
SPECTRUM = 0.5
"""The deviation of the j-th principal axis falls with j to this power."""
TAIL = 0.8
"""The size of the j-th largest cluster falls with j to this power (Zipf's law)."""
SPREAD = 0.6
"""Deviation of a picture from its cluster, as a share of the clusters' own."""
GAP = 1.2
"""Length of a modality's mean, as a multiple of what varies around it."""
TEXT_NOISE = 1.0
"""Deviation of a text from the picture that it means, as ``SPREAD`` is."""


@dataclass(frozen=True, slots=True)
class World:
    """What the vectors of one seed have in common.

    Attributes:
        axes: (dim, dim) float32; a standard normal vector times it is a latent vector of length 1.
        centres: (clusters, dim) float32, latent.
        shares: (clusters,) the probability of each cluster.
        image_mean: (dim,) float32.
        text_mean: (dim,) float32.
    """

    axes: FloatArray
    centres: FloatArray
    shares: FloatArray
    image_mean: FloatArray
    text_mean: FloatArray

    def images(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return (count, dim) float32, L2-normalised rows."""
        return _unit(self.image_mean + self._latents(rng, count))

    def texts(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Return (count, dim) float32, L2-normalised rows."""
        said = self._latents(rng, count) + TEXT_NOISE * self._noise(rng, count)
        return _unit(self.text_mean + said)

    def _latents(self, rng: np.random.Generator, count: int) -> FloatArray:
        chosen = rng.choice(len(self.centres), count, p=self.shares)
        return self.centres[chosen] + SPREAD * self._noise(rng, count)

    def _noise(self, rng: np.random.Generator, count: int) -> FloatArray:
        noise: FloatArray = rng.standard_normal((count, DIM), np.float32) @ self.axes
        return noise


def make_world(seed: int) -> World:
    """Draw what the vectors have in common."""
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.standard_normal((DIM, DIM)))
    deviations = np.arange(1, DIM + 1) ** -SPECTRUM
    axes = (deviations / np.linalg.norm(deviations))[:, None] * rotation
    axes = axes.astype(np.float32)
    centres = rng.standard_normal((CLUSTERS, DIM), np.float32) @ axes
    shares = np.arange(1, CLUSTERS + 1) ** -TAIL
    means = GAP * _unit(rng.standard_normal((2, DIM), np.float32))
    return World(axes, centres, shares / shares.sum(), means[0], means[1])


def image_blocks(seed: int, rows: int) -> Iterator[FloatArray]:
    """Yield (n, dim) float32 blocks of a base of images; the same for a seed in any run."""
    world = make_world(seed)
    for block, start in enumerate(range(0, rows, BLOCK_ROWS)):
        rng = np.random.default_rng((seed, block))
        yield world.images(rng, min(BLOCK_ROWS, rows - start))


def write_images(file: Path, seed: int, rows: int) -> None:
    """Write a base of images to an .npy file, (rows, dim) float16."""
    base = np.lib.format.open_memmap(file, "w+", np.float16, (rows, DIM))
    for number, block in enumerate(image_blocks(seed, rows)):
        base[number * BLOCK_ROWS :][: len(block)] = block
    base.flush()


def _unit(rows: FloatArray) -> FloatArray:
    unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit
