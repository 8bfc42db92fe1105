"""Dictionaries and a live model for paired rows with a known latent space."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary, ReLU, SparseAutoencoder, TopK
from bridge.geometry import unit_rows
from bridge.maps import Array
from bridge.pairing.rows import Rows
from bridge.scorers import Edit, LiveModel
from bridge.testing.laws import Laws


def latent_dictionary(basis: Array, mean: Array) -> Dictionary:
    """Return a dictionary with a feature for either sign of every latent dimension.

    Args:
        basis: Directions of the latent dimensions, (latent, d_model) float64.
        mean: Mean of the activations, (d_model,) float64.
    """
    inverse = np.linalg.pinv(basis)
    encoder, directions = np.concatenate([inverse, -inverse], 1), np.concatenate([basis, -basis])
    return _of(encoder, directions, mean, TopK(len(basis)))


def random_dictionary(features: int, mean: Array, seed: int) -> Dictionary:
    """Return an untrained dictionary: random unit directions, and their transpose as the encoder."""
    directions = unit_rows(np.random.default_rng(seed).normal(size=(features, len(mean))))
    return _of(directions.T, directions, mean, ReLU())


def _of(encoder: Array, directions: Array, mean: Array, activation: ReLU | TopK) -> Dictionary:
    wide, tall, centre = (array.astype(np.float32) for array in (encoder, directions, mean))
    return SparseAutoencoder(wide, np.zeros(len(tall), np.float32), tall, centre, activation, shift=centre)


@final
class SmoothModel(LiveModel):
    """A model whose loss grows smoothly with the distance between edited and original activations.

    Args:
        blocks: Opens a stream over the rows of its documents.
        n_documents: One more than the largest document index.
    """

    def __init__(self, blocks: Callable[[], Iterator[Rows]], n_documents: int) -> None:
        self.n_documents = n_documents
        self._blocks = blocks

    def losses(self, edit: Edit | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return 1 + log(1 + mean square of the change), summed over each document's rows.

        Raises:
            ConformanceError: If the edit returns anything but float32 rows of the same shape.
        """
        laws = Laws("An edit", "bridge.scorers.Edit")
        sums, counts = np.zeros((2, self.n_documents))
        for rows in self._blocks():
            edited = rows.y if edit is None else edit(rows.y.copy())
            law = "an edit returns finite float32 rows of the same shape"
            laws.shape(law, f"{len(rows.y)} rows", edited, rows.y.shape, np.float32)
            change = np.square(edited.astype(np.float64) - rows.y).mean(1)
            sums += rows.sum_by_document(1 + np.log1p(change), self.n_documents)
            counts += rows.sum_by_document(np.ones(len(rows.y)), self.n_documents)
        return sums, counts
