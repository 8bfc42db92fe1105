"""Quality of explanations: flagged by their verbalizer, empty, or repeated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.verbalizers import Explanation


def quality(explanations: Sequence[Explanation]) -> dict[str, NDArray[np.float64]]:
    """Return the value of each explanation, (n,), by name of the metric; the metric is their mean.

    `flagged` is 1 for flagged explanations; `distinct` is 1 / the number of explanations with the same text, so that
    the values sum to the number of different texts.
    """
    often = Counter(explanation.text for explanation in explanations)
    return {
        "flagged": np.array([bool(_flags(explanation)) for explanation in explanations], dtype=np.float64),
        "distinct": np.array([1 / often[explanation.text] for explanation in explanations]),
    }


def described(explanations: Sequence[Explanation]) -> str:
    """Return a note with the number of flagged explanations, their flags, and the number of different texts."""
    flagged = [_flags(explanation) for explanation in explanations]
    kinds = sorted(Counter(kind for flags in flagged for kind in flags).items())
    which = f" ({', '.join(f'{count} {kind}' for kind, count in kinds)})" if kinds else ""
    distinct = len({explanation.text for explanation in explanations})
    return f"{sum(map(bool, flagged))} of {len(explanations)} flagged{which}, {distinct} distinct"


def _flags(explanation: Explanation) -> set[str]:
    return {*explanation.flags, *(() if explanation.text.strip() else ("empty",))}
