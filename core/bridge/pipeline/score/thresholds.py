"""`--require ev>=0.3`: thresholds for the mapped arm, for scripts and CI."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from bridge.errors import ThresholdUnmetError, UsageError, did_you_mean
from bridge.metrics import Metric
from bridge.scorers import MAPPED, Need, Scorer

_ASKED = {
    Need.EXPLANATIONS: "explained features: give --dictionary",
    Need.READINGS: "explained live activations: give --positions",
    Need.LIVE_MODEL: "the live destination model: use bridge audit",
}
_FORM = re.compile(r"\s*([\w@]+)\s*>=\s*(-?\d+(?:\.\d*)?(?:e-?\d+)?)\s*")


def parse_requirements(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Parse `metric>=number` into names and thresholds.

    Raises:
        UsageError: If a text has another form.
    """
    matches = [(_FORM.fullmatch(text), text) for text in texts]
    for match, text in matches:
        if not match:
            raise UsageError(f"{text!r} is not a requirement.", remedy="Use for example --require 'ev>=0.3'.")
    return [(match[1], float(match[2])) for match, _ in matches if match]


def refuse_unmeasured(
    wanted: Iterable[tuple[str, float]], scorers: Mapping[str, Scorer], available: Collection[Need]
) -> None:
    """Refuse requirements that no scorer of this run measures, before the run starts.

    Args:
        wanted: Names and thresholds.
        scorers: Installed scorers, by name.
        available: Which of explanations and readings the run will have.

    Raises:
        UsageError: If no scorer measures a name, or the run lacks a need of its scorer.
    """
    by_name = {measure.name: scorer for scorer in scorers.values() for measure in scorer.measures}
    for name, _ in wanted:
        # A suffix names the washout; the name itself may contain an @.
        scorer = by_name.get(name) or by_name.get(name.rpartition("@")[0])
        if scorer is None:
            if all(one.measures for one in scorers.values()):
                raise UsageError(f"No installed scorer measures {name}.", remedy=did_you_mean(name, by_name))
            continue  # a scorer without declared measures may measure this
        for need, how in _ASKED.items():
            if need in scorer.needs and need not in available:
                raise UsageError(f"{name} is not measured in this run.", remedy=f"It needs {how}.")


def check_requirements(wanted: Iterable[tuple[str, float]], metrics: Iterable[Metric]) -> None:
    """Compare the mapped arm with the thresholds.

    Raises:
        ThresholdUnmetError: If a metric is below its threshold.
        UsageError: If no scorer measured a metric.
    """
    values = {metric.name: metric.value for metric in metrics if metric.arm == MAPPED}
    for name, least in wanted:
        if name not in values:
            raise UsageError(f"No scorer measured {name}.", remedy=f"Measured: {', '.join(sorted(values))}.")
        if values[name] < least:
            raise ThresholdUnmetError(f"{name} is {values[name]:.4f}, below the required {least:g}.")
