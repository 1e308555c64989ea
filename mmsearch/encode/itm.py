"""Image-text matching: a network that reads a text while it looks at a picture.

BLIP (Li et al. 2022, arXiv 2201.12086, section 3.2) has a head that tells pairs that match from
pairs that don't, trained on pairs that its own embeddings confuse. As transformers computes it: at
the text's first token, ``[CLS]``, where the authors' code for retrieval has ``[ENC]``
(https://github.com/huggingface/transformers/issues/25629).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL.Image import Image

from mmsearch.encode.compute import Compute, compute_of
from mmsearch.encode.hub import TOKENIZER, TOKENIZER_EXTRAS
from mmsearch.encode.tokenizing import Tokenizer, padded
from mmsearch.encode.torch_ import Lazy, one_line
from mmsearch.encode.transformers_ import HubCheckpoint, folder_or_repository, load_network
from mmsearch.errors import ModelError
from mmsearch.records import FloatArray

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

PREFIX = "itm"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_PREPROCESSING = ("preprocessor_config.json", "processor_config.json")


class Matcher(HubCheckpoint):
    """One checkpoint of BLIP for image-text matching, loaded on first use."""

    kind, prefix = "BLIP image-text matching", PREFIX
    needed = (("config.json",), _WEIGHTS, _PREPROCESSING, TOKENIZER)
    extras = (*TOKENIZER_EXTRAS, *_PREPROCESSING)

    def __init__(self, source: str, compute: Compute) -> None:
        super().__init__(source, compute)
        self.processor = Lazy(lambda: Processor(self.folder()))

    def _load_network(self) -> Any:
        from transformers import BlipForImageTextRetrieval

        folder = self.folder()
        self.processor()  # before the weights: it is the sooner to fail
        return self.compute.place(load_network(BlipForImageTextRetrieval, self.kind, folder))

    def log_odds(self, pictures: Sequence[FloatArray], texts: Sequence[str]) -> FloatArray:
        """Return the log-odds that pictures and texts match, (n,) float32.

        The logit for a match less the one against it, the two outputs of a softmax.

        Args:
            pictures: As the processor prepares them; n of them, or one for all texts.
            texts: n of them, or one for all pictures.
        """
        network, compute = self.network(), self.compute
        ids, mask = (compute.tensor(rows) for rows in self.processor().tokens(texts))
        count = max(len(pictures), len(texts))
        with compute.inference():
            seen = network.vision_model(compute.tensor(np.stack(pictures))).last_hidden_state
            # Not the network's forward, which makes a mask of ones on the CPU.
            read = network.text_encoder(
                input_ids=_repeated(ids, count),
                attention_mask=_repeated(mask, count),
                encoder_hidden_states=_repeated(seen, count),
            )
            against, match = network.itm_head(read.last_hidden_state[:, 0]).float().unbind(1)
            found: FloatArray = (match - against).cpu().numpy()
        return found


class Processor:
    """The checkpoint's own preprocessing, usable from several threads.

    Attributes:
        side: Pixels of the longer side that pictures are resized to.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import BlipConfig, BlipProcessor

        try:
            named = json.loads((folder / "config.json").read_text("utf-8")).get("model_type")
            if named != BlipConfig.model_type:
                raise ModelError(f"{folder} is no BLIP checkpoint: its model_type is {named!r}")
            config: Any = BlipConfig.from_pretrained(folder, local_files_only=True)
            processor: Any = BlipProcessor.from_pretrained(folder, local_files_only=True)
            size = processor.image_processor.size
            self.side = max(int(size["height"]), int(size["width"]))
        except ModelError:
            raise
        except Exception as error:  # transformers raises many kinds
            raise ModelError(f"cannot use {folder}: {one_line(error)}") from error
        self._image_processor = processor.image_processor
        self._tokenizer = Tokenizer(processor.tokenizer)
        positions = int(config.text_config.max_position_embeddings)
        self._context_length = min(int(processor.tokenizer.model_max_length), positions)

    def picture(self, picture: Image) -> FloatArray:
        """An RGB picture as the network takes it: (3, height, width) float32."""
        pixels: FloatArray = self._image_processor(picture, return_tensors="np")["pixel_values"][0]
        return pixels

    def tokens(self, texts: Sequence[str]) -> "tuple[NDArray[np.int64], NDArray[np.int64]]":
        """Token numbers of n texts, cut to the context, (n, longest), and 1 where there is one."""
        rows = [self._tokenizer.ids(text, self._context_length) for text in texts]
        return padded(rows, self._tokenizer.pad_id)


class Matchers:
    """Makes the matcher of each name once, so that its weights are loaded once."""

    def __init__(
        self, device: str | None = None, precision: str | None = None, compile: bool = False
    ) -> None:
        """Take what networks are to run on; see :func:`mmsearch.load_model`."""
        self._wanted = (device, precision, compile)
        self._made: dict[str, Matcher] = {}
        self._lock = Lock()

    def of(self, name: str) -> Matcher:
        """Return the matcher of a checkpoint.

        Args:
            name: A folder, or OWNER/NAME on the Hugging Face hub.

        Raises:
            ModelError: The name is neither.
        """
        source = folder_or_repository(PREFIX, name)
        with self._lock:
            if source not in self._made:
                self._made[source] = Matcher(source, compute_of(*self._wanted))
            return self._made[source]


def _repeated(rows: "torch.Tensor", count: int) -> "torch.Tensor":
    """Rows of which there are as many as wanted, or one for all."""
    return rows.expand(count, *rows.shape[1:])
