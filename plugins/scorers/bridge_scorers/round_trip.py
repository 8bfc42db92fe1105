"""Reconstruction of live activations from their explanations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import final

import numpy as np

from bridge.geometry import unit_rows
from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import MAPPED, NATIVE, Evidence, Need, Scorer
from bridge_scorers.measures import of_readings
from bridge_scorers.sentences import by_arm
from bridge_scorers.shares import document_mean, share_explained


@final
class RoundTrip(Scorer):
    """Activation -> explanation -> activation, by the verbalizer's reconstructor and, if foreign, the reverse map.

    All vectors are scaled to unit norm u(.), because a reconstructor gives only directions:

    - `round_trip_fve`: 1 - sum |u(x) - u(x^)|^2 / sum |u(x) - u(m)|^2, with m the mean training activation: 0 for the
      mean itself, below 0 for a reconstruction worse than the mean.
    - `round_trip_fve_nrm`: 1 - sum |u(x) - u(x^)|^2 / sum |u(x) - mean u(x)|^2, over the variance of the unit vectors:
      the FVE of model cards of released autoencoders (`fve_nrm`), which is the lower number.
    - `round_trip_cosine`: mean cos(x, x^); its note has the cosine of the mean.

    `native` and the arms of maps are in the source's space; `self` is in the destination's space. Intervals resample
    documents. Arms of a verbalizer without a reconstructor are missing.
    """

    name = "round_trip"
    summary = "Share of an activation that its explanation reconstructs, relative to the mean activation."
    needs = frozenset({Need.READINGS})
    measures = (
        of_readings("round_trip_fve", "reconstructed share of an activation, relative to the mean", "share", 20),
        of_readings(
            "round_trip_fve_nrm", "the same over the variance of unit vectors, as model cards print it", "share", 21
        ),
        of_readings("round_trip_cosine", "cosine of the reconstruction", "cosine", 22),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Score every arm whose verbalizer has a reconstructor."""
        readings = evidence.readings
        assert readings is not None, "the runtime hands them out"
        for arm, reading in readings.arms.items():
            if reading.rebuilt is None:
                continue
            true, back, mean = (unit_rows(rows) for rows in (reading.truth, reading.rebuilt, reading.mean[None]))
            count = int(readings.document.max()) + 1
            error, spread, variance = (
                np.bincount(readings.document, np.square(true - other).sum(1), minlength=count).astype(np.float64)
                for other in (back, mean, true.mean(0))
            )
            note = f"cosine of the mean: {float((true * mean).sum(1).mean()):.3f}"
            n, seed = len(true), evidence.seed
            yield evidence.metric(self, "round_trip_fve", arm, *share_explained(error, spread, seed), n, note)
            cards = "over the variance of unit vectors, as model cards print it"
            yield evidence.metric(self, "round_trip_fve_nrm", arm, *share_explained(error, variance, seed), n, cards)
            cosines = document_mean((true * back).sum(1), readings.document, seed)
            yield evidence.metric(self, "round_trip_cosine", arm, *cosines, n, note)

    def sentences(self, metrics: Sequence[Metric]) -> list[str]:
        """Describe the reconstruction by a foreign verbalizer, compared with the mean activation."""
        found = by_arm(metrics)
        trip, own = (found.get(("round_trip_fve", arm)) for arm in (MAPPED, NATIVE))
        if not trip:
            return []
        beside = f" (the source's own verbalizer: {own.value:.1%})" if own else ""
        return [
            f"Its explanations reconstruct {trip.value:.1%} [{trip.low:.1%}, {trip.high:.1%}] of the activations' "
            f"variance{beside}: {'more' if trip.low > 0 else 'NOT more'} than the mean activation does."
        ]


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer the round trip."""
    register(RoundTrip())
