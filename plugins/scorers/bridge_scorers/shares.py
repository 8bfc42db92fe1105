"""Helpers of several scorers: shares of variance, alive features, and means, with their intervals."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Dictionary
from bridge.maps import FittedMap
from bridge.metrics import ratio_interval

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Interval = tuple[float, float]
SAMPLE = 20_000
# Limits memory: a chunk has fewer rows for wide dictionaries and more rows for narrow ones.
CHUNK, CHUNK_ELEMENTS = 512, 2**20


def share_explained(residual: Array, spread: Array, seed: int) -> tuple[float, Interval]:
    """Return 1 - sum(residual) / sum(spread) and its 95% bootstrap interval over documents.

    Args:
        residual: Squared errors summed within each document, (documents,) float64.
        spread: Squared distances from the mean summed within each document, (documents,) float64.
        seed: Seed of the resampling.
    """
    low, high = ratio_interval(residual, spread, seed)
    return float(1 - residual.sum() / spread.sum()), (1 - high, 1 - low)


def feature_mean(values: Array, seed: int) -> tuple[float, Interval]:
    """Return the mean of one value per feature, (features,) float64, and its 95% bootstrap interval over features."""
    return float(values.mean()), ratio_interval(values, np.ones(len(values)), seed)


def document_mean(values: Array, document: NDArray[np.int64], seed: int) -> tuple[float, Interval]:
    """Return the mean of one value per row, and its 95% bootstrap interval over documents.

    Args:
        values: (n,) float64.
        document: Index of each row's document, (n,).
        seed: Seed of the resampling.
    """
    sums, counts = (np.bincount(document, each).astype(np.float64) for each in (values, np.ones(len(values))))
    return float(values.mean()), ratio_interval(sums, counts, seed)


def carried(forward: FittedMap, dictionary: Dictionary, back: FittedMap, y: Floats) -> Array:
    """Return forward(D(back(y))), a source dictionary's reconstruction of destination rows, (n, d_dst)."""
    return forward(reconstruct(dictionary, back(y).astype(np.float32)))


def reconstruct(dictionary: Dictionary, rows: Floats) -> Floats:
    """Reconstruct activations in chunks: (n, d_model) -> (n, d_model), float32."""
    parts = chunks(max(len(rows), 1), len(dictionary.directions))
    return np.concatenate([dictionary.reconstruct(rows[part]) for part in parts])


def chunks(count: int, width: int) -> Iterator[slice]:
    """Cut `count` rows, with `width` computed numbers each, into slices that fit into memory."""
    rows = max(CHUNK, CHUNK_ELEMENTS // width)
    return (slice(start, start + rows) for start in range(0, count, rows))


def alive(dictionary: Dictionary, rows: Floats) -> NDArray[np.bool_]:
    """Tell which features fire on at least one of the rows: (n, d_model) -> (features,) bool."""
    fires = np.zeros(len(dictionary.directions), dtype=bool)
    for part in chunks(len(rows), len(fires)):
        fires |= (dictionary.encode(rows[part]) > 0).any(0)
    return fires
