"""What a sparse autoencoder does between encoder and decoder: (n, features) pre-activations to feature activations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Activation(ABC):
    """A non-linearity; rows are treated one by one."""

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
        k: How many are kept.
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
    """Keep what is above a threshold, unshrunk (Rajamanoharan et al., arXiv 2407.14435, section 3).

    BatchTopK dictionaries are run with this at inference: one threshold, estimated in training, stands for the batch
    (Bussmann et al., arXiv 2412.06410, section 3).

    Attributes:
        threshold: Of each feature, (features,) float32, or (1,) for all.
    """

    threshold: Floats

    def __call__(self, pre: Floats) -> Floats:
        """Return pre where it is above the threshold and positive, 0 elsewhere, (n, features)."""
        return np.where(pre > self.threshold, np.maximum(pre, np.float32(0)), np.float32(0))


@final
@dataclass(frozen=True)
class Gated(Activation):
    """One encoder decides which features are on, a rescaled one how strongly (arXiv 2404.16014, section 3.2).

    The pre-activations handed in are x W_enc without any bias.

    Attributes:
        gate_bias: Of the gate, (features,) float32.
        scale: exp(r_mag), by which the magnitude's encoder is rescaled, (features,) float32.
        magnitude_bias: Of the magnitude, (features,) float32.
    """

    gate_bias: Floats
    scale: Floats
    magnitude_bias: Floats

    def __call__(self, pre: Floats) -> Floats:
        """Return (pre + gate_bias > 0) * max(pre * scale + magnitude_bias, 0), (n, features)."""
        magnitude = np.maximum(pre * self.scale + self.magnitude_bias, np.float32(0))
        return np.where(pre + self.gate_bias > 0, magnitude, np.float32(0))
