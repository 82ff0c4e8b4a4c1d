"""Squared Euclidean distances, free of cancellation."""

import torch


def squared_distances(features: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """||z - mu_k||² for features (N, d) and centres (K, d): (N, K).

    Differences are formed before squares. Expanding the square would be one matrix product, but near a centre it
    subtracts numbers of the size of the squared norm, and matrix units round its factors to ten bits.
    """
    return (features.unsqueeze(1) - centres).square().sum(2)
