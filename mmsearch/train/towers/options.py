"""How to train towers, and the sizes that follow from it."""

from collections.abc import Collection
from dataclasses import dataclass

from mmsearch.encode.towers.shapes import (
    Blocks,
    Convolution,
    Design,
    Gru,
    ImageTower,
    SoundFeatures,
    Stage,
    Table,
    TextTower,
    TowerShape,
    Transformer,
    Vit,
)
from mmsearch.errors import UsageError
from mmsearch.records import Modality
from mmsearch.train.losses import Loss
from mmsearch.train.schedule import at_least, check

NAME = "towers"
PATCH = 8
TOKENS = 64
"""That a recurrent network or a transformer reads of a text: two long sentences."""


@dataclass(frozen=True)
class Options:
    """How to train towers.

    Attributes:
        image_tower: The network for pictures.
        text_tower: The network for texts.
        sound: What the audio tower sees.
        width: Of the towers' first stage, on which all other widths depend; a multiple of 8.
        side: Pixels of the square that pictures are squeezed to; a multiple of 8.
        dim: Of the space.
        loss: What pairs are held together by.
        mixup: How much of pictures and sounds is mixed: both parameters of the beta distribution of
            shares (Zhang et al. 2018, section 2); 0 for not at all.
        distillation: Weight of the teacher beside the pairs.
        batch_size: Pairs whose loss is taken together.
        part_size: Pairs in memory at a time; the whole batch by default.
        epochs: Passes over the pairs, if nothing stops the run earlier.
        learning_rate: The highest.
        patience: Of at most 20 evaluations, how many may bring nothing before the run stops.
        seed: Of the split, the start, the order and every change of the samples.
    """

    image_tower: ImageTower = ImageTower.CONVOLUTION
    text_tower: TextTower = TextTower.TABLE
    sound: SoundFeatures = SoundFeatures.LOG_MEL
    width: int = 64
    side: int = 112
    dim: int = 256
    loss: Loss = Loss.INFONCE
    mixup: float = 0.2
    distillation: float = 1.0
    batch_size: int = 256
    part_size: int | None = None
    epochs: int = 40
    learning_rate: float = 1e-3
    patience: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)
        at_least(8, width=self.width)
        at_least(32, side=self.side)
        at_least(2, part_size=self.batch_size if self.part_size is None else self.part_size)
        at_least(1, dim=self.dim)
        at_least(0, mixup=self.mixup, distillation=self.distillation)
        for name, size in (("width", self.width), ("side", self.side)):
            if size % 8:
                raise UsageError(f"{name} {size}: must be a multiple of 8")

    def design(self, modalities: Collection[Modality], vocabulary: int) -> Design:
        """Towers for some modalities, and for texts of so many different tokens."""
        shapes = {
            Modality.TEXT: self._text(vocabulary),
            Modality.IMAGE: self._image(),
            Modality.AUDIO: self._audio(),
        }
        chosen = {modality: shapes[modality] for modality in shapes if modality in modalities}
        return Design(NAME, self.dim, chosen, self.side, self.sound)

    def _image(self) -> TowerShape:
        width = self.width
        if self.image_tower is ImageTower.VIT:
            return Vit(Blocks(4 * width, depth=6, heads=width // 8), PATCH)
        stages = (Stage(width, 1, stride=1), Stage(3 * width, 2), Stage(6 * width, 1))
        return Convolution(3, width, stages, hidden=16 * width)

    def _audio(self) -> TowerShape:
        stem, first, last = (_eights(share * self.width) for share in (0.75, 1.5, 3))
        return Convolution(1, stem, (Stage(first, 2), Stage(last, 2)))

    def _text(self, vocabulary: int) -> TowerShape:
        width = 4 * self.width
        if self.text_tower is TextTower.GRU:
            return Gru(vocabulary, width, TOKENS)
        if self.text_tower is TextTower.TRANSFORMER:
            return Transformer(Blocks(width, depth=4, heads=self.width // 8), vocabulary, TOKENS)
        return Table()


def _eights(width: float) -> int:
    """The next multiple of 8: with 6 channels oneDNN ends the process on AVX2 (torch 2.11)."""
    return -(-int(width) // 8) * 8
