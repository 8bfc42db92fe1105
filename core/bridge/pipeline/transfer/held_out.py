"""Scores of transferred tools on the bridge's held-out rows, which no map was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.split import HELD_OUT, document_groups
from bridge.dictionaries import Dictionary
from bridge.metrics import ratio_interval
from bridge.pairing.rows import PairedRows, Rows

Array = NDArray[np.float64]
CHUNK = 2**22
"""Number of feature activations in memory at once."""


@final
class HeldOutRows:
    """The paired rows of a bridge's held-out documents, outliers left out.

    Args:
        rows: All paired rows.
        seed: Seed of the intervals.

    Attributes:
        seed: Seed of the intervals.
        n_documents: Number of independent held-out documents.
    """

    def __init__(self, rows: PairedRows, seed: int) -> None:
        self._rows, self.seed = rows, seed
        self._groups = document_groups(rows.corpus, rows.folds, HELD_OUT)
        self.n_documents = int(self._groups.max()) + 1

    def __iter__(self) -> Iterator[Rows]:
        for block, _ in self._rows.blocks(lambda fold: fold == HELD_OUT):
            kept = block.take(~block.outlier)
            yield Rows(kept.x, kept.y, self._groups[kept.document], kept.outlier)


OpenRows = Callable[[], HeldOutRows | None]
"""Opens the held-out rows, after all other checks; returns None if they are not available."""


def score_dictionaries(rows: HeldOutRows, source: Dictionary, carried: Dictionary) -> dict[str, dict[str, Any]]:
    """Return the EV of a dictionary on the source, and of the transferred dictionary on the destination.

    1 - sum ||y - y^||^2 / sum ||y - mean||^2 over held-out rows, with the mean of these rows: `sae_ev` of `bridge
    audit`.

    Returns:
        `mapped` (the transferred dictionary on the destination) and `self` (the given dictionary on the source), each
        with `ev`, the ends `low` and `high` of its 95% interval over documents, and `n` rows.
    """
    sides: tuple[tuple[str, Dictionary], ...] = (("x", source), ("y", carried))
    mean = _mean(rows)
    residual = {side: np.zeros(rows.n_documents) for side, _ in sides}
    spread = {side: np.zeros(rows.n_documents) for side, _ in sides}
    n = 0
    for block in rows:
        n += len(block.x)
        for side, dictionary in sides:
            true = getattr(block, side)
            found = _reconstructed(dictionary, true)
            residual[side] += block.sum_by_document(np.square(true - found).sum(1), rows.n_documents)
            spread[side] += block.sum_by_document(np.square(true - mean[side]).sum(1), rows.n_documents)
    return {arm: _share(residual[side], spread[side], n, rows.seed) for arm, side in (("mapped", "y"), ("self", "x"))}


def score_probes(
    rows: HeldOutRows, given: Mapping[str, tuple[Array, Array]], carried: Mapping[str, tuple[Array, Array]]
) -> dict[str, dict[str, Any]]:
    """Return the agreement of each transferred probe on the destination with the given probe on the source.

    Args:
        rows: Held-out pairs.
        given: Weights, (d_src,) or (k, d_src), and bias, () or (k,), by name.
        carried: The same for the destination.

    Returns:
        By name `ev`, 1 - sum (p(y) - p(x))^2 / sum (p(x) - mean)^2, with `low`, `high` and `n` as for dictionaries;
        `r`, the mean correlation over outputs; and `spread`, the ratio of the outputs' standard deviations.
    """
    there: dict[str, list[Array]] = {name: [] for name in given}
    here: dict[str, list[Array]] = {name: [] for name in given}
    documents = []
    for block in rows:
        documents.append(block.document)
        for name in given:
            there[name].append(_read(block.x, *given[name]))
            here[name].append(_read(block.y, *carried[name]))
    document = np.concatenate(documents)
    return {name: _agreement(np.concatenate(there[name]), np.concatenate(here[name]), document, rows) for name in given}


def _agreement(wanted: Array, got: Array, document: NDArray[np.int64], rows: HeldOutRows) -> dict[str, Any]:
    centred, moved = wanted - wanted.mean(0), got - got.mean(0)
    errors, distances = np.square(got - wanted).sum(1), np.square(centred).sum(1)
    residual, spread = (np.bincount(document, one, rows.n_documents).astype(np.float64) for one in (errors, distances))
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (centred * moved).sum(0) / np.sqrt(np.square(centred).sum(0) * np.square(moved).sum(0))
        ratio = np.sqrt(np.square(moved).sum() / np.square(centred).sum())
    return _share(residual, spread, len(wanted), rows.seed) | {"r": _finite(r.mean()), "spread": _finite(ratio)}


def _read(rows: NDArray[np.float32], weights: Array, bias: Array) -> Array:
    return np.asarray(rows @ np.atleast_2d(weights).T + bias, np.float64)


def _mean(rows: HeldOutRows) -> dict[str, Array]:
    sums: dict[str, Any] = {"x": 0.0, "y": 0.0}
    n = 0
    for block in rows:
        n += len(block.x)
        for side in sums:
            sums[side] = sums[side] + getattr(block, side).sum(0, dtype=np.float64)
    return {side: total / max(n, 1) for side, total in sums.items()}


def _reconstructed(dictionary: Dictionary, rows: NDArray[np.float32]) -> NDArray[np.float32]:
    step = max(1, CHUNK // len(dictionary.directions))
    parts = [dictionary.reconstruct(rows[start : start + step]) for start in range(0, len(rows), step)]
    return np.concatenate(parts) if parts else rows


def _share(residual: Array, spread: Array, n: int, seed: int) -> dict[str, Any]:
    low, high = ratio_interval(residual, spread, seed)
    value = float(1 - residual.sum() / spread.sum()) if spread.sum() else float("nan")
    return {"ev": _finite(value), "low": _finite(1 - high), "high": _finite(1 - low), "n": n}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
