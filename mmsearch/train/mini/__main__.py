"""Train the embedded model: ``python -m mmsearch.train.mini --data DIR --out DIR``.

Six stages, each of which keeps its result in the output folder and is skipped when it is there:

1. texts   MiniLM embeds captions, names and phrases.
2. views   MobileNets describe the pictures.
3. clips   recordings are changed, mixed and heard by YAMNet.
4. words   a vocabulary and a token table learn MiniLM's embeddings; then heads on the MobileNets'
           outputs and the table learn to meet (contrastively, on the Flickr8k train split).
5. image   a tower learns to say what the heads say of each view, and to meet its captions.
6. audio   a tower learns to meet the words for each sound.

The Flickr8k dev split, fold 4 of ESC-10 and two notes of the instruments are never read.
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn.functional import normalize

from mmsearch.encode.mini.weights import NAME
from mmsearch.train.audio import LABEL_TEMPLATES, Words, train_audio
from mmsearch.train.clips import label_names, load_clips, make_clips
from mmsearch.train.data import Picture, audioset_classes, kept_for_figures, pictures, recordings
from mmsearch.train.export import export
from mmsearch.train.files import save_arrays
from mmsearch.train.heads import pair_up, train_heads
from mmsearch.train.image import Lesson, scale, train_image
from mmsearch.train.loop import Plan
from mmsearch.train.text import Bags, TokenTable, principal_axes, train_table, train_vocabulary
from mmsearch.train.texts import corpus, embed_texts, load_text_vectors
from mmsearch.train.views import Views, load_views, make_views

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """Where the data is, where results go, and how long each stage trains."""

    data: Path
    out: Path
    seed: int = 0
    workers: int = 2
    text_epochs: int = 10
    clips: int = 3250
    image_steps: int = 2000
    audio_steps: int = 1500


def train(recipe: Recipe) -> Path:
    """Run every stage that has not been run, and write the weights file.

    Returns:
        The weights file, in the output folder.
    """
    data, out, seed = recipe.data, recipe.out, recipe.seed
    texts = corpus(data, seed)
    embed_texts(texts, out / "texts")
    album = pictures(data)
    make_views(album, data, out / "views", recipe.workers)
    sounds = [sound for sound in recordings(data) if not kept_for_figures(sound)]
    make_clips(recipe.clips, sounds, data, out / "clips", seed, recipe.workers)
    tokenizer, table = words_stage(recipe, texts)
    views = load_views(out / "views")
    table, lesson = heads_stage(recipe, album, views, tokenizer, table)
    image = train_image(views, lesson, out / "image.pt", Plan(recipe.image_steps, seed))
    words = sound_words(data, label_names(sounds), tokenizer, table)
    plan = Plan(recipe.audio_steps, seed)
    audio = train_audio(load_clips(out / "clips"), words, out / "audio.pt", plan)
    path = out / f"{NAME}.safetensors"
    export(path, tokenizer, table, {"image": image, "audio": audio})
    return path


def words_stage(recipe: Recipe, texts: Sequence[str]) -> tuple[Tokenizer, TokenTable]:
    """The vocabulary, and the token table that says what the text teacher says."""
    vocabulary, rows = recipe.out / "vocabulary.json", recipe.out / "words.npz"
    if not rows.exists():
        tokenizer = train_vocabulary(texts)
        vectors = load_text_vectors(recipe.out / "texts")
        targets = normalize(torch.from_numpy(vectors @ principal_axes(vectors)), dim=1)
        bags, size = Bags(tokenizer, texts), tokenizer.get_vocab_size()
        table = train_table(bags, size, targets, recipe.text_epochs, recipe.seed)
        tokenizer.save(str(vocabulary))
        save_arrays(rows, rows=table.rows.detach().numpy())
    return Tokenizer.from_file(str(vocabulary)), _load_table(rows)


def heads_stage(
    recipe: Recipe, album: Sequence[Picture], views: Views, tokenizer: Tokenizer, table: TokenTable
) -> tuple[TokenTable, Lesson]:
    """The token table after it has met the pictures, and what the image tower is to learn."""
    path = recipe.out / "heads.npz"
    pairs, texts = pair_up(album, views.picture)
    inputs = scale(views.teacher)
    bags = Bags(tokenizer, texts)
    if not path.exists():
        heads = train_heads(table, inputs, pairs, bags, recipe.seed)
        with torch.no_grad():
            targets = heads(inputs)
        save_arrays(path, rows=table.rows.detach().numpy(), targets=targets.numpy())
    table = _load_table(path)
    with np.load(path, allow_pickle=False) as file, torch.no_grad():
        targets = torch.from_numpy(file["targets"])
        return table, Lesson(inputs, targets, pairs, table(bags[np.arange(len(bags))]))


def sound_words(
    data: Path, labels: Sequence[str], tokenizer: Tokenizer, table: TokenTable
) -> Words:
    """The words that sounds are to be near, embedded."""

    def embed(texts: Sequence[str]) -> Tensor:
        bags = Bags(tokenizer, texts)
        with torch.no_grad():
            return table(bags[np.arange(len(bags))])  # type: ignore[no-any-return]

    templates = [[template.format(label) for label in labels] for template in LABEL_TEMPLATES]
    return Words(torch.stack([embed(texts) for texts in templates]), embed(audioset_classes(data)))


def _load_table(path: Path) -> TokenTable:
    with np.load(path, allow_pickle=False) as file:
        table = TokenTable(len(file["rows"]))
        table.rows.data = torch.from_numpy(file["rows"])
    return table


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures and sounds")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(arguments.data, arguments.out, arguments.seed, arguments.threads)
    log.info("weights: %s", train(recipe))


if __name__ == "__main__":
    main()
