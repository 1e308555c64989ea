"""Training codebooks: lists, rotations and quantisers, from a sample of the vectors."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.records import FloatArray
from mmsearch.store.faiss_ import inverted_file, load_faiss, transforms
from mmsearch.store.lists_on_device import train_lists
from mmsearch.store.recipes import untrained

if TYPE_CHECKING:
    import torch

_TRAINING_ROUNDS = 4
"""FAISS takes 10; see :func:`mmsearch.store.recipes.training_rows`."""
_ROTATION_ROUNDS = 10
_ROTATION_ROWS = 32_768
_CODE_ROWS = 65_536
"""256 for each centroid of 8 bits, as FAISS takes at the most."""


def train_codebook(recipe: str, sample: FloatArray, device: "torch.device | None" = None) -> bytes:
    """Train an index and serialise it, empty.

    Args:
        recipe: FAISS factory string.
        sample: (n, dim) float32.
        device: What trains lists, if not FAISS.
    """
    index = untrained(recipe, sample.shape[1])
    ivf = load_faiss().downcast_index(inverted_file(index))
    ivf.cp.niter = _TRAINING_ROUNDS
    quantizers = [ivf, getattr(ivf, "pq", None)]
    for clustering in (q.cp for q in quantizers if hasattr(q, "cp")):
        clustering.min_points_per_centroid = 1  # FAISS warns on stderr below 39
    if hasattr(ivf, "do_polysemous_training"):
        ivf.do_polysemous_training = False  # on by default: 40 s for a filter not in use
        ivf.use_precomputed_table = -1  # it serves distances only
    rotation_quantizers = _rotation_quantizers(index, ivf)
    if rotation_quantizers and hasattr(ivf, "pq"):
        _train_rotated(index, ivf, sample, _centroids(ivf, sample, device))
    else:
        if device is not None and not transforms(index):
            ivf.quantizer.add(_centroids(ivf, sample, device))  # which is not trained again
        metric = ivf.metric_type
        ivf.metric_type = load_faiss().METRIC_L2  # lists are cells; FAISS checks it for graphs
        index.train(sample)
        ivf.metric_type = metric
    del rotation_quantizers
    return bytes(load_faiss().serialize_index(index))


def _centroids(ivf: Any, sample: FloatArray, device: "torch.device | None") -> FloatArray:
    """Train the centroids of lists, (nlist, dim) float32."""
    if device is not None:
        return train_lists(sample, ivf.nlist, _TRAINING_ROUNDS, device)
    faiss = load_faiss()
    cells = faiss.IndexFlatL2(sample.shape[1])
    faiss.Clustering(sample.shape[1], ivf.nlist, ivf.cp).train(sample, cells)
    centroids: FloatArray = cells.reconstruct_n(0, ivf.nlist)
    return centroids


def _train_rotated(index: Any, ivf: Any, sample: FloatArray, centroids: FloatArray) -> None:
    """Train a rotation on what the codes are to hold: what is left of vectors in their lists.

    FAISS trains it on the vectors themselves, of which a list's centroid takes most away.
    """
    some = sample[np.linspace(0, len(sample) - 1, min(len(sample), _CODE_ROWS)).astype(int)]
    cells = load_faiss().IndexFlatL2(sample.shape[1])
    cells.add(centroids)
    residuals = some - centroids[cells.assign(some, 1)[:, 0]]
    (rotation,) = transforms(index)
    rotation.niter = _ROTATION_ROUNDS
    rotation.train(residuals[:: max(1, len(residuals) // _ROTATION_ROWS)])
    ivf.pq.train(rotation.apply(residuals))
    ivf.quantizer.add(rotation.apply(centroids))
    ivf.is_trained = index.is_trained = True


def _rotation_quantizers(index: Any, ivf: Any) -> list[Any]:
    """Give each OPQ rotation a quantiser that does not warn, of as many bits as the codes have.

    They must live until it is trained. FAISS's own has 8 bits, whatever the codes.
    """
    faiss, quantizers = load_faiss(), []
    bits = getattr(getattr(ivf, "pq", None), "nbits", 8)
    for rotation in transforms(index):
        if isinstance(rotation, faiss.OPQMatrix):
            rotation.pq = faiss.ProductQuantizer(rotation.d_out, rotation.M, bits)
            rotation.pq.cp.min_points_per_centroid = 1
            quantizers.append(rotation.pq)
    return quantizers
