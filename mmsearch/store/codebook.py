"""Training codebooks: lists, rotations and quantisers, from a sample of the vectors."""

from typing import Any

from mmsearch.records import FloatArray
from mmsearch.store.faiss_ import inverted_file, load_faiss, transforms
from mmsearch.store.recipes import untrained

_TRAINING_ROUNDS = 4
"""FAISS takes 10; see :func:`mmsearch.store.recipes.training_rows`."""
_ROTATION_ROUNDS = 10
_ROTATION_ROWS = 32_768


def train_codebook(recipe: str, sample: FloatArray) -> bytes:
    """Train an index and serialise it, empty.

    Args:
        recipe: FAISS factory string.
        sample: (n, dim) float32.
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
        _train_rotated(index, ivf, sample)
    else:
        metric = ivf.metric_type
        ivf.metric_type = load_faiss().METRIC_L2  # lists are cells; FAISS checks it for graphs
        index.train(sample)
        ivf.metric_type = metric
    del rotation_quantizers
    return bytes(load_faiss().serialize_index(index))


def _train_rotated(index: Any, ivf: Any, sample: FloatArray) -> None:
    """Train a rotation on what the codes are to hold: what is left of vectors in their lists.

    FAISS trains it on the vectors themselves, of which a list's centroid takes most away.
    """
    faiss = load_faiss()
    cells = faiss.IndexFlatL2(sample.shape[1])
    faiss.Clustering(sample.shape[1], ivf.nlist, ivf.cp).train(sample, cells)
    centroids = cells.reconstruct_n(0, ivf.nlist)
    _, nearest_cells = cells.search(sample, 1)
    residuals = sample - centroids[nearest_cells[:, 0]]
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
