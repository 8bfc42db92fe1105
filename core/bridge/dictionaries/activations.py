"""Activation functions of sparse autoencoders: (n, features) pre-activations to feature activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Activation(ABC):
    """A non-linearity, applied to each row independently."""

    @abstractmethod
    def __call__(self, pre: Floats) -> Floats:
        """Turn pre-activations, (n, features) float32, into feature activations of the same shape.

        Args:
            pre: Pre-activations, (n, features) float32.

        Returns:
            (n, features) float32.
        """


@final
@dataclass(frozen=True)
class ReLU(Activation):
    """max(pre, 0)."""

    def __call__(self, pre: Floats) -> Floats:
        """Return max(pre, 0), (n, features)."""
        return np.maximum(pre, np.float32(0))


@final
@dataclass(frozen=True)
class TopK(Activation):
    """Keep the k largest of each row, if positive (Gao et al., arXiv 2406.04093, section 2.3).

    Attributes:
        k: Number of features kept per row.
    """

    k: int

    def __call__(self, pre: Floats) -> Floats:
        """Return the k largest of each row where positive, and 0 elsewhere, (n, features)."""
        features = np.zeros_like(pre)
        if self.k >= pre.shape[1]:
            return np.maximum(pre, np.float32(0))
        largest = np.argpartition(pre, -self.k, axis=1)[:, -self.k :]
        kept = np.maximum(np.take_along_axis(pre, largest, 1), np.float32(0))
        np.put_along_axis(features, largest, kept, 1)
        return features


@final
@dataclass(frozen=True)
class JumpReLU(Activation):
    """Keep values above a threshold unchanged (Rajamanoharan et al., arXiv 2407.14435, section 3).

    BatchTopK dictionaries use this activation at inference, with one threshold that was estimated in training
    (Bussmann et al., arXiv 2412.06410, section 3).

    Attributes:
        threshold: Threshold of each feature, (features,) float32, or (1,) for all.
    """

    threshold: Floats

    def __call__(self, pre: Floats) -> Floats:
        """Return pre where it is above the threshold and positive, 0 elsewhere, (n, features)."""
        return np.where(pre > self.threshold, np.maximum(pre, np.float32(0)), np.float32(0))


@final
@dataclass(frozen=True)
class Gated(Activation):
    """A gate selects the active features; a rescaled encoder gives their magnitude (arXiv 2404.16014, section 3.2).

    The pre-activations are x W_enc without bias.

    Attributes:
        gate_bias: Bias of the gate, (features,) float32.
        scale: exp(r_mag), the scale of the magnitude's encoder, (features,) float32.
        magnitude_bias: Bias of the magnitude, (features,) float32.
    """

    gate_bias: Floats
    scale: Floats
    magnitude_bias: Floats

    def __call__(self, pre: Floats) -> Floats:
        """Return (pre + gate_bias > 0) * max(pre * scale + magnitude_bias, 0), (n, features)."""
        magnitude = np.maximum(pre * self.scale + self.magnitude_bias, np.float32(0))
        return np.where(pre + self.gate_bias > 0, magnitude, np.float32(0))
