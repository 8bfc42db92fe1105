"""One record for every number: value, interval, count, arm, and the control to compare with."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Metric", "jackknife_interval", "ratio_interval"]

SCHEMA = 1


@final
@dataclass(frozen=True)
class Metric:
    """A measured number. Field names are public API (`metrics.json`, `--json`, Python).

    Attributes:
        scorer: Name of the scorer plugin.
        name: Name of the measure (`ev`, `cosine`, `retrieval@1`, ...); a scorer may have several measures.
        arm: The measured arm: `mapped`, or a control such as `raw`, `mispaired`, `random_map`.
        map: Name of the map plugin.
        src: Source reference.
        dst: Destination reference.
        value: The number.
        low: Lower end of the 95% interval.
        high: Upper end of the 95% interval.
        n: Number of rows (or features, or texts) behind the value.
        control: The arm to compare with; empty for controls themselves.
        note: Information that prevents misinterpretation.
    """

    scorer: str
    name: str
    arm: str
    map: str
    src: str
    dst: str
    value: float
    low: float
    high: float
    n: int
    control: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        # Scorers return numpy scalars, which JSON does not support.
        for name, kind in (("value", float), ("low", float), ("high", float), ("n", int)):
            object.__setattr__(self, name, kind(getattr(self, name)))


def document(metrics: Iterable[Metric], provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the common result document, ready for `json.dump`: schema, provenance, flat metric records.

    An unknown interval (only one document) is null.
    """
    records = [asdict(metric) for metric in metrics]
    for record in records:
        for end in ("low", "high"):
            record[end] = record[end] if math.isfinite(record[end]) else None
    return {"schema": SCHEMA, "bridge": provenance, "metrics": records}


def ratio_interval(
    numerators: NDArray[np.float64],
    denominators: NDArray[np.float64],
    seed: int,
    resamples: int = 1000,
    counts: NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """95% percentile bootstrap interval of `sum(numerators) / sum(denominators)`, resampling documents.

    Args:
        numerators: One sum per document, shape (documents,).
        denominators: One sum per document, shape (documents,).
        seed: Seed of the resampling.
        resamples: Number of bootstrap draws.
        counts: Size of each document, shape (documents,); documents of size 0 are left out. Default: the denominators;
            give counts if denominators may be negative.

    Returns:
        `(low, high)`; both NaN if fewer than two documents are left.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile interval) and
    section 8.3 (resampling whole clusters).
    """
    from scipy.stats import bootstrap

    used = (denominators if counts is None else counts) > 0
    if used.sum() < 2:
        return math.nan, math.nan
    result = bootstrap(
        (numerators[used], denominators[used]),
        lambda top, bottom, axis: top.sum(axis) / bottom.sum(axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=resamples,
        batch=100,
        rng=np.random.default_rng(seed),
    )
    return float(result.confidence_interval.low), float(result.confidence_interval.high)


def jackknife_interval(value: float, left_out: NDArray[np.float64]) -> tuple[float, float]:
    """95% interval from delete-a-group estimates, for statistics that are not ratios of sums.

    Args:
        value: The estimate on all groups.
        left_out: The estimate with each group left out in turn, shape (groups,).

    Returns:
        `(low, high)`, with Student's t quantile at groups - 1 degrees of freedom.

    Source: Shao and Tu, The Jackknife and Bootstrap (1995), section 2.3 (grouped jackknife).
    """
    from scipy.stats import t

    groups = len(left_out)
    error = math.sqrt((groups - 1) / groups * float(((left_out - left_out.mean()) ** 2).sum()))
    reach = float(t.ppf(0.975, groups - 1)) * error
    return value - reach, value + reach
