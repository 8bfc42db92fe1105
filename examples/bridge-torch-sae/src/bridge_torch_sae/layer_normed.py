"""A sparse autoencoder of layer-normed activations, as a dictionary of the activations themselves."""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary, SparseAutoencoder

Floats = NDArray[np.float32]
EPSILON = 1e-5


@final
class LayerNormed(Dictionary):
    """x^ = std (latents D + bias) + mean, with mean and std of each activation over its d_model entries.

    That is linear in std * latents, std and mean. So those are the features, as long as they are in the activation
    itself; their directions are D, then the bias, then (1, ..., 1). The last two features are no latents: they are on
    in every row, the last one maybe below zero.

    Args:
        inner: The autoencoder of (x - mean) / (std + 1e-5).
    """

    def __init__(self, inner: SparseAutoencoder) -> None:
        self.inner, self.origin = inner, inner.origin
        ones = np.ones_like(inner.decoder_bias)
        self.directions = np.concatenate([inner.directions, inner.decoder_bias[None], ones[None]])

    def encode(self, x: Floats) -> Floats:
        """Return std * latents, std and mean of activations: (n, d_model) -> (n, latents + 2), float32."""
        mean = x.mean(1, keepdims=True, dtype=np.float64)
        centred = x - mean
        std = centred.std(1, keepdims=True, ddof=1)
        latents = self.inner.encode((centred / (std + EPSILON)).astype(np.float32))
        features: Floats = np.concatenate([std * latents, std, mean], axis=1, dtype=np.float32)
        return features

    def decode(self, features: Floats) -> Floats:
        """Return reconstructed activations: (n, latents + 2) -> (n, d_model), float32."""
        reconstructed: Floats = features @ self.directions
        return reconstructed
