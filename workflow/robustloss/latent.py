"""The latent space of a trained network: what its last layer is given for some images, and a picture of it by t-SNE."""

from pathlib import Path

import numpy as np
import torch
from sklearn.manifold import TSNE
from torch import nn

from robustloss import measurements
from robustloss.data.prepared import Prepared
from robustloss.errors import Problem

BATCH = 256
# Of more numbers than that, t-SNE is given the leading principal components, as its authors do.
COMPONENTS = 50


def measure(run: Path, data: Prepared, spec: dict, directory: Path, device: str = "auto") -> None:
    """Measure `spec["count"]` images of `spec["split"]`: their latent vectors and, with a `perplexity`, their t-SNE.

    Writes arrays.npz with `index`, `labels`, `predictions` (images,) and `points`: the latent vectors themselves
    (images, dimension) or their embedding (images, 2); and measurement.json. Raises Problem where there are too few
    images for the perplexity.
    """
    subject = measurements.subject(run, data, spec, device)
    found = [latent(subject.model, inputs) for inputs, _ in subject.images.batches(BATCH)]
    vectors, logits = (torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))
    labels = data.labels(spec["split"])[subject.index]
    summary = {"count": len(labels), "dimension": vectors.shape[1]}
    points = vectors
    if "perplexity" in spec:
        points, divergence = embedding(vectors, spec["perplexity"])
        summary["divergence"] = divergence
    arrays = {
        "index": subject.index,
        "labels": labels.astype(np.int16),
        "predictions": logits.argmax(1).astype(np.int16),
        "points": points.astype(np.float32),
    }
    subject.write(directory, spec, arrays, summary)


@torch.no_grad()
def latent(model: nn.Module, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the head is given (images, dimension), and the logits; without a head, what the last linear layer is given.

    Raises Problem for a network that has neither.
    """
    if not isinstance(model.head, nn.Identity):
        vectors = model.features(images)
        return vectors.float(), model.head(vectors).float()
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise Problem("latent: the network has neither a head nor a linear layer")
    heard = []
    listener = linear[-1].register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0]))
    try:
        logits = model(images)
    finally:
        listener.remove()
    return heard[-1].float(), logits.float()


def embedding(vectors: np.ndarray, perplexity: float) -> tuple[np.ndarray, float]:
    """t-SNE (van der Maaten and Hinton 2008) of vectors (N, dimension) in the plane (N, 2), and its divergence in nats.

    From the first two principal components, so that it is the same each time.
    """
    if not 0 < perplexity < len(vectors):
        raise Problem(f"latent: perplexity {perplexity} needs more images than that, not {len(vectors)}")
    vectors = vectors - vectors.mean(0)
    if vectors.shape[1] > COMPONENTS:
        vectors = vectors @ np.linalg.svd(vectors, full_matrices=False)[2][:COMPONENTS].T
    found = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=0)
    return found.fit_transform(vectors), float(found.kl_divergence_)
