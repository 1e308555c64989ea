"""Train the embedded model: ``python -m mmsearch.train.mini --data DIR --out DIR``."""

import argparse
import logging
from pathlib import Path

import torch

from mmsearch.train.mini.recipe import STAGES, Recipe


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description="Train the embedded model.")
    parser.add_argument("--data", type=Path, required=True, help="folder of pictures and sounds")
    parser.add_argument("--out", type=Path, required=True, help="folder for results and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2, help="cores to use")
    parser.add_argument(
        "--everything",
        action="store_true",
        help="train on what is otherwise kept for figures too: the weights to ship",
    )
    parser.add_argument("--only", choices=STAGES, help="one stage, after those it needs")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(arguments.threads)
    recipe = Recipe(
        arguments.data, arguments.out, arguments.everything, arguments.seed, arguments.threads
    )
    recipe.run(arguments.only)


if __name__ == "__main__":
    main()
