"""The stages of training mini; each keeps its result and is skipped when that is there.

1. texts   MiniLM embeds captions, names and phrases.
2. words   A vocabulary and a token table learn MiniLM's embeddings.
3. views   MobileNets describe whole pictures and crops, place by place.
4. heads   Heads on what the MobileNets say and the token table learn to meet, on captions.
5. image   A tower learns to say what the heads say, and what the MobileNets say of each place.
6. audio   A tower learns to meet the words for each sound; without ``everything`` once without each
           fold of ESC-10, on which it is then judged.
7. export  The weights files, as folders that ``mmsearch index --model`` takes.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize

from mmsearch.encode import folder
from mmsearch.encode.compute import Compute
from mmsearch.encode.mini import DIM
from mmsearch.encode.towers import KIND, WEIGHTS
from mmsearch.encode.towers.shapes import Design, Table
from mmsearch.errors import TrainingError
from mmsearch.records import Modality
from mmsearch.train.files import save_arrays
from mmsearch.train.loop import train
from mmsearch.train.mini.audio import LABEL_TEMPLATES, AudioTask, Words
from mmsearch.train.mini.audio import SHAPE as AUDIO_SHAPE
from mmsearch.train.mini.clips import groups, label_names, make_clips
from mmsearch.train.mini.data import KEPT, audioset_classes, pictures, recordings
from mmsearch.train.mini.draw import drawings
from mmsearch.train.mini.heads import Heads, HeadsTask, Pairs, folds, pair_up
from mmsearch.train.mini.image import SHAPE as IMAGE_SHAPE
from mmsearch.train.mini.image import ImageTask
from mmsearch.train.mini.text import principal_axes, train_table
from mmsearch.train.mini.texts import corpus, embed_texts, load_text_vectors
from mmsearch.train.mini.views import CHANNELS, Views, make_views, survey
from mmsearch.train.plan import Plan
from mmsearch.train.towers.export import export as write_weights
from mmsearch.train.towers.words import Bags, TokenTable, train_vocabulary
from mmsearch.whole import written_whole

log = logging.getLogger(__name__)

STAGES = ("words", "heads", "image", "audio", "export")

NAME = "mini-2"
TEXT_EPOCHS = 10
DRAWINGS = 2000
HEADS_PLAN = Plan(steps=400, learning_rate=3e-3, weight_decay=0.1, clip_norm=100.0)
AUDIO_PLAN = Plan(steps=1_500, learning_rate=2e-3, weight_decay=0.05)
IMAGE_PLAN = Plan(steps=4_000, learning_rate=2e-3, weight_decay=0.05, checkpoint_s=300)
RESTART_PLAN = replace(IMAGE_PLAN, steps=2_800, learning_rate=1.2e-3)
"""A second cosine from where the first has ended (Loshchilov & Hutter 2017, arXiv 1608.03983)."""


@dataclass(frozen=True)
class Recipe:
    """Where the data is, where results go, and what is trained on.

    Attributes:
        data: The folder of the data.
        out: The folder of the results. What the teachers say is shared by both sets of weights.
        everything: Whether to train on the data that figures are reported on, too.
        seed: Of every random choice.
        workers: Cores for the teachers.
    """

    data: Path
    out: Path
    everything: bool = False
    seed: int = 0
    workers: int = 2

    def run(self, only: str | None = None) -> None:
        """Run the stages that have not been run, or what one stage needs.

        Raises:
            TrainingError: The folder holds results of other data or another seed.
        """
        self._claim()
        for stage in STAGES if only is None else [only]:
            getattr(self, stage)
            log.info("%s: done", stage)

    def _claim(self) -> None:
        """Results are known by their names alone, so a folder is for one set of inputs."""
        digest = hashlib.sha256(str(self.seed).encode())
        for path in sorted(self.data.rglob("*")):
            if path.is_file():
                digest.update(f"{path.relative_to(self.data)} {path.stat().st_size}".encode())
        mark = self.out / "inputs.sha256"
        if not mark.exists():
            self.out.mkdir(parents=True, exist_ok=True)
            with written_whole(mark) as temporary:
                temporary.write_text(digest.hexdigest())
        if mark.read_text() != digest.hexdigest():
            raise TrainingError(f"{self.out}: holds what other data or another seed has given")

    @property
    def home(self) -> Path:
        """What depends on the choice of data."""
        return self.out / ("everything" if self.everything else "train")

    @cached_property
    def words(self) -> tuple[Tokenizer, Tensor]:
        """The vocabulary, and token vectors that say what the text teacher says."""
        vocabulary, path = self.home / "vocabulary.json", self.home / "words.npz"
        if not path.exists():
            texts = corpus(self.data, self.seed, self.everything)
            embed_texts(texts, self.home / "texts")
            tokenizer = train_vocabulary(texts)
            vectors = load_text_vectors(self.home / "texts")
            targets = normalize(torch.from_numpy(vectors @ principal_axes(vectors)), dim=1)
            bags, size = Bags(tokenizer, texts), tokenizer.get_vocab_size()
            table = train_table(bags, size, targets, TEXT_EPOCHS, self.seed)
            tokenizer.save(str(vocabulary))
            save_arrays(path, rows=table.rows.detach().numpy())
        with np.load(path, allow_pickle=False) as file:
            return Tokenizer.from_file(str(vocabulary)), torch.from_numpy(file["rows"])

    @cached_property
    def views(self) -> Views:
        """The pictures, and what the image teacher says of them."""
        axes = survey(pictures(self.data, dev=False), self.data, self.out / "axes.npz")
        album = pictures(self.data, self.everything)
        album += drawings(DRAWINGS, self.out / "drawn", self.seed)
        return make_views(album, self.data, axes, self.out / "views", self.seed, self.workers)

    @cached_property
    def pairs(self) -> tuple[Pairs, list[str]]:
        """The views with texts, and those texts."""
        return pair_up(self.views.pictures, self.views.owners)

    @cached_property
    def heads(self) -> tuple[Heads, TokenTable]:
        """From the image teacher's features into the space, and the table that they have met."""
        tokenizer, rows = self.words
        (pairs, texts), views = self.pairs, self.views
        torch.manual_seed(self.seed)
        heads, table = Heads(CHANNELS), TokenTable(rows)
        fold = folds(pairs, views.owners)
        task = HeadsTask(
            heads, table, views.means(), fold, pairs, Bags(tokenizer, texts), self.seed
        )
        train(task, replace(HEADS_PLAN, seed=self.seed), self.home / "heads")
        return heads.eval().requires_grad_(False), table.requires_grad_(False)

    @cached_property
    def image(self) -> ImageTask:
        """The image tower."""
        (heads, table), (tokenizer, _), (pairs, texts) = self.heads, self.words, self.pairs
        bags = Bags(tokenizer, texts)
        vectors = table(bags[np.arange(len(bags))])
        fold = folds(pairs, self.views.owners)
        plan = replace(IMAGE_PLAN, seed=self.seed)
        device = Compute().device
        task = ImageTask(self.views, heads, fold, vectors, pairs, self.seed, device, plan.steps)
        train(task, plan, self.home / "image")
        task.seed, task.steps = self.seed + 1, 0
        train(task, replace(RESTART_PLAN, seed=task.seed), self.home / "image-restart")
        return task

    @cached_property
    def audio(self) -> dict[str, AudioTask]:
        """The audio towers, by the fold that they have not heard; one for all if none is kept."""
        known = groups(recordings(self.data))
        if self.everything:
            return {"": self._listen("", list(known))}
        folds = [group for group in known if group != KEPT]
        return {fold: self._listen(fold, [one for one in folds if one != fold]) for fold in folds}

    def _listen(self, kept: str, wanted: Sequence[str]) -> AudioTask:
        sounds = recordings(self.data)
        clips = make_clips(sounds, wanted, self.data, self.out / "clips", self.seed, self.workers)
        words = self._sound_words(label_names(sounds))
        task = AudioTask(clips, words, self.seed, Compute().device)
        train(task, replace(AUDIO_PLAN, seed=self.seed), self.home / f"audio{kept}")
        return task

    def _sound_words(self, labels: Sequence[str]) -> Words:
        """The words that sounds are to be near, embedded."""
        templates = [[template.format(label) for label in labels] for template in LABEL_TEMPLATES]
        named = torch.stack([self._embed(texts) for texts in templates])
        return Words(named, self._embed(audioset_classes(self.data)))

    def _embed(self, texts: Sequence[str]) -> Tensor:
        bags, table = Bags(self.words[0], texts), self.heads[1]
        found: Tensor = table(bags[np.arange(len(bags))])
        return found

    @cached_property
    def export(self) -> list[Path]:
        """The folders of the finished models."""
        design = Design(
            NAME,
            DIM,
            {Modality.TEXT: Table(), Modality.IMAGE: IMAGE_SHAPE, Modality.AUDIO: AUDIO_SHAPE},
        )
        found = []
        for kept, audio in self.audio.items():
            home = self.home / f"model{kept}"
            home.mkdir(exist_ok=True)
            towers = {
                Modality.TEXT: self.heads[1],
                Modality.IMAGE: self.image.model.tower.cpu(),
                Modality.AUDIO: audio.model.tower.cpu(),
            }
            write_weights(home / WEIGHTS, design, towers, self.words[0])
            folder.write(home, {"kind": KIND})
            found.append(home)
        return found
