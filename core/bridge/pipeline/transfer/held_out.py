"""Scores of transferred tools on the bridge's held-out rows, which no map was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.split import HELD_OUT, document_groups
from bridge.dictionaries import Dictionary
from bridge.maps import FittedMap
from bridge.metrics import ratio_interval
from bridge.pairing.rows import PairedRows, Rows
from bridge.scorers import MAPPED, MISPAIRED, SELF

Array = NDArray[np.float64]
CHUNK = 2**22
"""Number of feature activations in memory at once."""


@final
@dataclass(frozen=True)
class Mispaired:
    """The control of a bridge: the same map fitted on the same rows, each with another row's partner.

    Attributes:
        forward: Map from the source to the destination.
        back: Map from the destination to the source.
    """

    forward: FittedMap
    back: FittedMap


@final
class HeldOutRows:
    """The paired rows of a bridge's held-out documents, without outliers.

    Args:
        rows: All paired rows.
        seed: Seed of the intervals.
        fitted: The bridge's map.
        mispaired: Fits the control at the first call; returns None if the control cannot be fitted.

    Attributes:
        seed: Seed of the intervals.
        fitted: The bridge's map.
        n_documents: Number of independent held-out documents.
        mispaired: Returns the control, fitted once.
    """

    def __init__(
        self, rows: PairedRows, seed: int, fitted: FittedMap, mispaired: Callable[[], Mispaired | None]
    ) -> None:
        self._rows, self.seed, self.fitted = rows, seed, fitted
        self.mispaired = cache(mispaired)
        self._groups = document_groups(rows.corpus, rows.folds, HELD_OUT)
        self.n_documents = int(self._groups.max()) + 1
        self._means: dict[str, Array] | None = None

    def __iter__(self) -> Iterator[Rows]:
        for block, _ in self._rows.blocks(lambda fold: fold == HELD_OUT):
            kept = block.take(~block.outlier)
            yield Rows(kept.x, kept.y, self._groups[kept.document], kept.outlier)

    def means(self) -> dict[str, Array]:
        """Return the mean of the source's rows, `x` (d_src,), and of the destination's, `y` (d_dst,), float64."""
        if self._means is None:
            self._means = _mean(self)
        return self._means


OpenRows = Callable[[], HeldOutRows | None]
"""Opens the held-out rows, after all other checks; returns None if they are not available."""


def score_dictionaries(
    rows: HeldOutRows, source: Dictionary, carried: Dictionary, control: Dictionary | None
) -> dict[str, dict[str, Any]]:
    """Return the EV of a dictionary on the source, and of the transferred dictionary on the destination.

    EV = 1 - sum ||y - y^||^2 / sum ||y - mean||^2 over held-out rows, with the mean of these rows; `bridge audit`
    reports it as `sae_ev`.

    Args:
        rows: Held-out pairs.
        source: The source's dictionary.
        carried: The transferred dictionary.
        control: The dictionary transferred by the mispaired control; None if there is no control.

    Returns:
        `mapped` (`carried` on the destination), `mispaired` (`control` on the destination) and `self` (`source` on the
        source), each with `ev`, the ends `low` and `high` of its 95% interval over documents, and `n` rows.
    """
    arms = {MAPPED: ("y", carried), SELF: ("x", source)} | ({MISPAIRED: ("y", control)} if control else {})
    mean = rows.means()
    residual = {arm: np.zeros(rows.n_documents) for arm in arms}
    spread = {side: np.zeros(rows.n_documents) for side in mean}
    n = 0
    for block in rows:
        n += len(block.x)
        for side in spread:
            distances = np.square(getattr(block, side) - mean[side]).sum(1)
            spread[side] += block.sum_by_document(distances, rows.n_documents)
        for arm, (side, dictionary) in arms.items():
            true = getattr(block, side)
            errors = np.square(true - _reconstructed(dictionary, true)).sum(1)
            residual[arm] += block.sum_by_document(errors, rows.n_documents)
    return {arm: _share(residual[arm], spread[side], n, rows.seed) for arm, (side, _) in arms.items()}


def score_probes(
    rows: HeldOutRows,
    given: Mapping[str, tuple[Array, Array]],
    carried: Mapping[str, tuple[Array, Array]],
    control: Mapping[str, tuple[Array, Array]],
) -> dict[str, dict[str, Any]]:
    """Return the agreement of each transferred probe on the destination with the given probe on the source.

    Args:
        rows: Held-out pairs.
        given: Weights, (d_src,) or (k, d_src), and bias, () or (k,), by name.
        carried: Weights and bias of the transferred probes, by name.
        control: Weights and bias of the probes transferred by the mispaired control; empty if there is no control.

    Returns:
        By name `ev`, 1 - sum (p(y) - p(x))^2 / sum (p(x) - mean)^2, with `low`, `high` and `n` as for dictionaries;
        `r`, the mean correlation over outputs; `spread`, the ratio of the outputs' standard deviations; and
        `mispaired`, the same scores of the control.
    """
    there: dict[str, list[Array]] = {name: [] for name in given}
    arms = {MAPPED: carried} | ({MISPAIRED: control} if control else {})
    here: dict[tuple[str, str], list[Array]] = {(arm, name): [] for arm in arms for name in given}
    documents = []
    for block in rows:
        documents.append(block.document)
        for name in given:
            there[name].append(_read(block.x, *given[name]))
            for arm, probes in arms.items():
                here[arm, name].append(_read(block.y, *probes[name]))
    document, found = np.concatenate(documents), dict[str, dict[str, Any]]()
    for name in given:
        wanted = np.concatenate(there[name])
        said = {arm: _agreement(wanted, np.concatenate(here[arm, name]), document, rows) for arm in arms}
        found[name] = said.pop(MAPPED) | said
    return found


def _agreement(wanted: Array, got: Array, document: NDArray[np.int64], rows: HeldOutRows) -> dict[str, Any]:
    centred, moved = wanted - wanted.mean(0), got - got.mean(0)
    errors, distances = np.square(got - wanted).sum(1), np.square(centred).sum(1)
    residual, spread = (np.bincount(document, one, rows.n_documents).astype(np.float64) for one in (errors, distances))
    with np.errstate(divide="ignore", invalid="ignore"):
        r = (centred * moved).sum(0) / np.sqrt(np.square(centred).sum(0) * np.square(moved).sum(0))
        ratio = np.sqrt(np.square(moved).sum() / np.square(centred).sum())
    return _share(residual, spread, len(wanted), rows.seed) | {"r": finite(r.mean()), "spread": finite(ratio)}


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
    return {"ev": finite(value), "low": finite(1 - high), "high": finite(1 - low), "n": n}


def finite(value: float) -> float | None:
    """Return the number, or None if it is NaN or infinite, which JSON cannot hold."""
    return float(value) if np.isfinite(value) else None
