"""The encoders of a weights file, one for each modality; only a network imports torch."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from mmsearch.config import InputLimits
from mmsearch.encode.compute import Compute
from mmsearch.encode.seeing import Box
from mmsearch.encode.torch_ import MOST_CHARS_PER_TOKEN, Lazy
from mmsearch.encode.towers.features import MAX_SECONDS, pixels, seen, spectrogram
from mmsearch.encode.towers.shapes import Convolution, Gru, Transformer, Vit
from mmsearch.encode.towers.weights import Weights
from mmsearch.records import FloatArray, Modality, Sound, Space

if TYPE_CHECKING:
    from mmsearch.encode.towers.networks import Network


class _TowerEncoder:
    """What the encoders share.

    Args:
        weights: The file.
        compute: What its network runs on.
    """

    modality: Modality

    def __init__(self, weights: Weights, compute: Compute) -> None:
        self._weights, self._compute = weights, compute
        self._network = Lazy(self._load)

    @property
    def space(self) -> Space:
        """The one space of the file."""
        return self._weights.space()

    def fits(self, text: str) -> bool:
        """Whether all of a text counts; other modalities have none."""
        return True

    def _load(self) -> "Network":
        from mmsearch.encode.towers.networks import Network

        return Network(self._weights, self.modality, self._compute)

    def _nothing(self) -> FloatArray:
        return np.zeros((0, self.space.dim), np.float32)


class TableEncoder(_TowerEncoder):
    """Embeds texts as the sum of their tokens' vectors, in NumPy: needs no torch.

    How much a token counts is the length of its row, learned with its direction.
    """

    modality = Modality.TEXT
    batch_size = 256
    limits = InputLimits()

    def __init__(self, weights: Weights, compute: Compute) -> None:
        super().__init__(weights, compute)
        self._table = Lazy(self._load_table)

    def prepare(self, decoded: str) -> NDArray[np.int64]:
        """Token ids of a text, at least one: (n,) int64."""
        return self._weights.tokens(decoded)

    def encode(self, prepared: Sequence[NDArray[np.int64]]) -> FloatArray:
        """Embed token ids: (n, dim) float32, L2-normalised rows."""
        if not prepared:
            return self._nothing()
        ids, starts = end_to_end(prepared)
        sums = np.add.reduceat(self._rows(ids), starts, axis=0)
        return np.asarray(sums / np.linalg.norm(sums, axis=1, keepdims=True), np.float32)

    def places(self, prepared: Sequence[NDArray[np.int64]]) -> list[FloatArray]:
        """The vector of each token of n texts: (tokens, dim) float32 each."""
        return [self._rows(ids) for ids in prepared]

    def _rows(self, ids: NDArray[np.int64]) -> FloatArray:
        table, scale = self._table()
        return np.asarray(table[ids] * scale[ids, None].astype(np.float32), np.float32)

    def _load_table(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Whole numbers (vocabulary, dim) int8, and what each row is multiplied with, float16."""
        arrays = self._weights.arrays("text.")
        table = arrays["table"]
        return table, arrays.get("scale", np.ones(len(table), np.float16))


class SequenceEncoder(_TowerEncoder):
    """Embeds texts with a network that heeds the order of words."""

    modality = Modality.TEXT
    batch_size = 64

    @property
    def limits(self) -> InputLimits:
        """More than the network reads, as a rule: ``fits`` decides."""
        return InputLimits(text_chars=MOST_CHARS_PER_TOKEN * self._tokens)

    @property
    def _tokens(self) -> int:
        shape = self._weights.design().towers[Modality.TEXT]
        assert isinstance(shape, Gru | Transformer)
        return shape.tokens

    def fits(self, text: str) -> bool:
        """Whether the network reads the whole text."""
        return len(self._weights.tokens(text)) <= self._tokens

    def prepare(self, decoded: str) -> NDArray[np.int64]:
        """Token ids of a text, at least one: (n,) int64."""
        return self._weights.tokens(decoded)[: self._tokens]

    def encode(self, prepared: Sequence[NDArray[np.int64]]) -> FloatArray:
        """Embed token ids: (n, dim) float32, L2-normalised rows."""
        return self._network()(*end_to_end(prepared)) if prepared else self._nothing()

    def places(self, prepared: Sequence[NDArray[np.int64]]) -> list[FloatArray]:
        """What is read at each token of n texts: (tokens, width) float32 each."""
        rows = self._network().places(*end_to_end(prepared))
        return [row[: len(ids)] for row, ids in zip(rows, prepared, strict=True)]


class ImageEncoder(_TowerEncoder):
    """Embeds whole pictures."""

    modality = Modality.IMAGE
    batch_size = 32

    @property
    def limits(self) -> InputLimits:
        """Pictures of any size."""
        return InputLimits(image_side=2 * self._weights.design().side)

    def prepare(self, decoded: Image) -> NDArray[np.uint8]:
        """Shrink an RGB picture: (side, side, 3) uint8."""
        return pixels(decoded, self._weights.design().side)

    def encode(self, prepared: Sequence[NDArray[np.uint8]]) -> FloatArray:
        """Embed shrunk pictures: (n, dim) float32, L2-normalised rows."""
        return self._network()(np.stack(prepared)) if prepared else self._nothing()

    def places(self, prepared: Sequence[NDArray[np.uint8]]) -> list[FloatArray]:
        """What is seen in each place of n pictures: (places, width) float32 each."""
        return list(self._network().places(np.stack(prepared)))

    def maps(self, prepared: Sequence[NDArray[np.uint8]]) -> list[FloatArray]:
        """Embed each place of n pictures: (rows, columns, dim) float32, L2-normalised, each."""
        return list(self._network().maps(np.stack(prepared)))

    def seen(self, size: tuple[int, int]) -> Box:
        """All of a picture, but for the ends of a very long one."""
        design = self._weights.design()
        shape = design.towers[Modality.IMAGE]
        assert isinstance(shape, Convolution | Vit)
        reach = shape.reach(design.side)
        return seen(size).first(reach, reach)


class AudioEncoder(_TowerEncoder):
    """Embeds sounds of up to 10 s."""

    modality = Modality.AUDIO
    batch_size = 16
    limits = InputLimits(window_s=float(MAX_SECONDS))

    def prepare(self, decoded: Sound) -> NDArray[np.float16]:
        """Log-mel spectrogram of a sound: (64, 100 x whole seconds) float16."""
        return spectrogram(decoded)

    def encode(self, prepared: Sequence[NDArray[np.float16]]) -> FloatArray:
        """Embed spectrograms: (n, dim) float32, L2-normalised rows.

        Sounds of one length are embedded together: padding would make them depend on each other.
        """
        vectors = np.zeros((len(prepared), self.space.dim), np.float32)
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, mel in enumerate(prepared):
            by_length[mel.shape[1]].append(number)
        for numbers in by_length.values():
            vectors[numbers] = self._network()(np.stack([prepared[at] for at in numbers]))
        return vectors

    def places(self, prepared: Sequence[NDArray[np.float16]]) -> list[FloatArray]:
        """What is heard in each moment and band of n sounds: (places, width) float32 each."""
        return [self._network().places(mel[None])[0] for mel in prepared]


def end_to_end(texts: Sequence[NDArray[np.int64]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids of texts in one row, (ids,) int64, and where each text starts, (n,) int64."""
    starts = np.cumsum([0] + [len(ids) for ids in texts[:-1]])
    return np.concatenate(texts), starts
