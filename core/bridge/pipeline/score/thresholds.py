"""`--require ev>=0.3`: what the mapped arm must reach, for scripts and CI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bridge.errors import ThresholdUnmetError, UsageError
from bridge.metrics import Metric
from bridge.scorers import MAPPED

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
