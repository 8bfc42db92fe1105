"""How much of a live activation is reconstructed from its explanation."""

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
    """Activation -> explanation -> activation, by the verbalizer's reconstructor and, of a foreign one, the map back.

    All vectors at unit norm u(.), since a reconstructor gives directions only:

    - `round_trip_fve`: 1 - sum |u(x) - u(x^)|^2 / sum |u(x) - u(m)|^2, with m the mean training activation: 0 is what
      always answering with the mean gets, and below 0 is worse than saying nothing.
    - `round_trip_fve_nrm`: 1 - sum |u(x) - u(x^)|^2 / sum |u(x) - mean u(x)|^2, over the variance of the unit vectors:
      what the cards of released autoencoders call FVE (`fve_nrm`). It is the lower of the two.
    - `round_trip_cosine`: mean cos(x, x^); its note says what the mean gets.

    `native` and the arms of maps are in the source's space; `self` is the destination's own, in its own space.
    Intervals resample documents. Without a reconstructor on one side, that side's arms are missing.
    """

    name = "round_trip"
    summary = "What is reconstructed of an activation from its explanation, against the mean activation."
    needs = frozenset({Need.READINGS})
    measures = (
        of_readings("round_trip_fve", "share of an activation that is reconstructed, against the mean's", "share", 20),
        of_readings(
            "round_trip_fve_nrm", "the same over the variance of unit vectors, as model cards print it", "share", 21
        ),
        of_readings("round_trip_cosine", "cosine of the reconstruction", "cosine", 22),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Score every reader that has a reconstructor."""
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
            note = f"the mean gets a cosine of {float((true * mean).sum(1).mean()):.3f}"
            n, seed = len(true), evidence.seed
            yield evidence.metric(self, "round_trip_fve", arm, *share_explained(error, spread, seed), n, note)
            cards = "over the variance of unit vectors, as model cards print it"
            yield evidence.metric(self, "round_trip_fve_nrm", arm, *share_explained(error, variance, seed), n, cards)
            cosines = document_mean((true * back).sum(1), readings.document, seed)
            yield evidence.metric(self, "round_trip_cosine", arm, *cosines, n, note)

    def sentences(self, metrics: Sequence[Metric]) -> list[str]:
        """Say how much is reconstructed through a foreign verbalizer, and whether it is more than the mean."""
        found = by_arm(metrics)
        trip, own = (found.get(("round_trip_fve", arm)) for arm in (MAPPED, NATIVE))
        if not trip:
            return []
        beside = f", where the source's own gives back {own.value:.1%}" if own else ""
        return [
            f"Its explanations give back {trip.value:.1%} [{trip.low:.1%}, {trip.high:.1%}] of the activations' "
            f"variance{beside}: {'more' if trip.low > 0 else 'NOT more'} than the mean activation does."
        ]


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer the round trip."""
    register(RoundTrip())
