"""`--require ev>=0.3`: what the mapped arm must reach, for scripts and CI."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

from bridge.errors import ThresholdUnmetError, UsageError, did_you_mean
from bridge.metrics import Metric
from bridge.scorers import MAPPED, Need, Scorer

_ASKED = {
    Need.EXPLANATIONS: "features that are explained: give --dictionary",
    Need.READINGS: "live activations that are explained: give --positions",
    Need.LIVE_MODEL: "the live destination model, which bridge audit runs",
}
_FORM = re.compile(r"\s*([\w@]+)\s*>=\s*(-?\d+(?:\.\d*)?(?:e-?\d+)?)\s*")


def parse_requirements(texts: Sequence[str]) -> list[tuple[str, float]]:
    """Turn `metric>=number` into names and least values.

    Raises:
        UsageError: If a text has another form.
    """
    matches = [(_FORM.fullmatch(text), text) for text in texts]
    for match, text in matches:
        if not match:
            raise UsageError(f"{text!r} is not a requirement.", remedy="Write, for example, --require 'ev>=0.3'.")
    return [(match[1], float(match[2])) for match, _ in matches if match]


def refuse_unmeasured(
    wanted: Iterable[tuple[str, float]], scorers: Mapping[str, Scorer], available: Collection[Need]
) -> None:
    """Refuse requirements that no scorer could answer, before a run instead of after it.

    Args:
        wanted: Names and least values.
        scorers: Installed ones, by name.
        available: What of explanations and readings the run will have.

    Raises:
        UsageError: If no scorer measures a name, or the run has not what its scorer needs.
    """
    by_name = {measure.name: scorer for scorer in scorers.values() for measure in scorer.measures}
    for name, _ in wanted:
        # A suffix says under which washout; a name may hold an @ of its own.
        scorer = by_name.get(name) or by_name.get(name.rpartition("@")[0])
        if scorer is None:
            if all(one.measures for one in scorers.values()):
                raise UsageError(f"No installed scorer measures {name}.", remedy=did_you_mean(name, by_name))
            continue  # a scorer that does not list what it measures may measure this
        for need, how in _ASKED.items():
            if need in scorer.needs and need not in available:
                raise UsageError(f"{name} is not measured in this run.", remedy=f"It needs {how}.")


def check_requirements(wanted: Iterable[tuple[str, float]], metrics: Iterable[Metric]) -> None:
    """Compare the mapped arm with what is wanted of it.

    Raises:
        ThresholdUnmetError: If a metric stays below.
        UsageError: If no scorer measured it.
    """
    values = {metric.name: metric.value for metric in metrics if metric.arm == MAPPED}
    for name, least in wanted:
        if name not in values:
            raise UsageError(f"No scorer measured {name}.", remedy=f"Measured: {', '.join(sorted(values))}.")
        if values[name] < least:
            raise ThresholdUnmetError(f"{name} is {values[name]:.4f}, below the required {least:g}.")
