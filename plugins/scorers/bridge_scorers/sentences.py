"""Sentences about scores, shared by several scorers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge.metrics import Metric
from bridge.scorers import MAPPED, MISPAIRED, NATIVE, SELF

OTHERS = ((NATIVE, "the source's own"), (SELF, "the destination's on itself"), (MISPAIRED, "mispaired"))


def by_arm(metrics: Sequence[Metric]) -> dict[tuple[str, str], Metric]:
    """Index metrics by name and arm."""
    return {(metric.name, metric.arm): metric for metric in metrics}


def beside_control(metrics: Sequence[Metric], name: str, what: str) -> list[str]:
    """Return a sentence that compares the map's number with its control's.

    Args:
        metrics: The scorer's own metrics.
        name: Name of the number, a share.
        what: Verb phrase with the placeholders `{value}` and `{note}` for the number and its note.
    """
    found = by_arm(metrics)
    mapped = found.get((name, MAPPED))
    control = found.get((name, mapped.control)) if mapped else None
    if not mapped or not control:
        return []
    does = what.format(value=f"{mapped.value:.1%}", note=mapped.note)
    verdict, intervals = ("above", "apart") if mapped.low > control.high else ("NOT clearly above", "overlap")
    return [
        f"The map {does}: {verdict} the same map fitted on {control.arm} rows ({control.value:.1%}; 95% intervals "
        f"{intervals})."
    ]


def beside_others(found: Mapping[tuple[str, str], Metric], name: str, verb: str) -> list[str]:
    """Return a sentence that compares a foreign verbalizer's share with both own verbalizers and the control."""
    mapped = found.get((name, MAPPED))
    if not mapped:
        return []
    others = [f"{label} {found[name, arm].value:.0%}" for arm, label in OTHERS if (name, arm) in found]
    return [
        f"The foreign verbalizer {verb} {mapped.value:.0%} of {mapped.n} live activations "
        f"[{mapped.low:.0%}, {mapped.high:.0%}] ({', '.join(others)})."
    ]
