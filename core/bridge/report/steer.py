"""Steering on the terminal: dose curves as a table, the regime in words, and generated texts side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.metrics import Metric
from bridge.report.table import print_rows
from bridge.scorers import MAPPED, NATIVE, RANDOM_DIRECTION, RAW
from bridge.terminal import say

if TYPE_CHECKING:
    from bridge.pipeline.jobs.steer import Steering

CLEAN = 0.8
"""Transfer ratio above which an arm has about the effect of the native vector."""


def print_steering(steering: Steering) -> None:
    """Print shift, KL and transfer ratio for each dose and arm, then the regimes in words."""
    about = steering.provenance
    first, second = about["contrast"]["classes"]
    arms = list(dict.fromkeys(metric.arm for metric in steering.metrics))
    names = list(dict.fromkeys(metric.name for metric in steering.metrics))
    cells = {(metric.name, metric.arm): metric for metric in steering.metrics}
    rows = [[name, *(_cell(cells[name, arm]) for arm in arms)] for name in names]
    title = f"{first} against {second}: {about['src']} -> {about['dst']}, {about['map']}"
    print_rows(["measure@dose", *arms], rows, title=title, caption="of the tested texts, with 95% intervals over them")
    for metric in steering.metrics:
        if metric.name.startswith("transfer_ratio@") and metric.arm in (MAPPED, RAW):
            verdict = regime(metric, cells[metric.name, RANDOM_DIRECTION])
            say(f"At dose {metric.name.partition('@')[2]} the {metric.arm} vector is {verdict}.")
    for texts in steering.generated:
        print_rows(
            ["arm", "generates"], [[arm, text] for arm, text in texts.items() if arm != "prompt"], texts["prompt"]
        )


def regime(metric: Metric, random: Metric) -> str:
    """Name the transfer regime of a vector, from the intervals of its transfer ratio and of random directions.

    The names are those of arXiv 2605.24577: clean, partial, inverted.
    """
    verdict = f"(transfer ratio {metric.value:.2f} [{metric.low:.2f}, {metric.high:.2f}])"
    if metric.high < 0:
        return f"inverted {verdict}: it pushes towards the wrong class"
    if metric.low <= max(0.0, random.high):
        return f"no better than random directions {verdict}"
    return f"{'clean' if metric.value >= CLEAN else 'partial'} {verdict}"


def _cell(metric: Metric) -> str:
    if metric.arm in (MAPPED, NATIVE):
        return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
    return f"{metric.value:.3f}"
