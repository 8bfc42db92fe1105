"""The plots that scorers draw themselves, of what they kept; one that fails costs no more than itself."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.display import svg
from bridge.display.plots import line
from bridge.display.svg import Plot
from bridge.errors import PluginError
from bridge.pipeline.jobs.results import RunFiles
from bridge.plugins.checks import fault_of_plot
from bridge.plugins.discovery import discover
from bridge.plugins.isolation import ANY_FAULT
from bridge.scorers import Scorer

Kept = Mapping[str, NDArray[np.floating]]

LARGEST = 2 * 2**20
"""Bytes that a plot may add to the page."""


def scorer_plots(run: RunFiles, key: str) -> tuple[list[Plot], dict[str, str]]:
    """Let every scorer of a run draw what it kept.

    Args:
        run: What the run's folder holds.
        key: With which the plots' own begin.

    Returns:
        The plots, and why there is none, by the name of the scorer.
    """
    names = dict.fromkeys(metric.scorer for metric in run.metrics)
    by_scorer = {name: own for name in names if (own := own_arrays(name, run.kept))}
    installed = discover().scorers if by_scorer else {}
    plots: list[Plot] = []
    undrawn: dict[str, str] = {}
    for at, (name, own) in enumerate(by_scorer.items()):
        if name not in installed:
            undrawn[name] = "it is not installed here. Install its package, and run bridge report again."
            continue
        try:
            plots += draw(installed[name], own, f"{key}-own{at}")
        except ANY_FAULT as error:
            undrawn[name] = f"{type(error).__name__}: {error}"
    return plots, undrawn


def own_arrays(name: str, kept: Kept) -> dict[str, NDArray[np.floating]]:
    """Return what a scorer kept for its plot, by names without the scorer's."""
    return {one.removeprefix(f"{name}."): array for one, array in kept.items() if one.startswith(f"{name}.")}


def draw(scorer: Scorer, own: Kept, key: str) -> list[Plot]:
    """Return a scorer's plot in the page's style, or none where it has none.

    Raises:
        PluginError: If what it returned is no plot, or too large; besides, whatever the scorer raises.
    """
    from matplotlib import rc_context

    # Mathematics, as in the ticks of a logarithmic axis, is the plugin's own; what it cannot parse leaves out its plot.
    with svg.drawing(), rc_context({"text.parse_math": True}), contextlib.redirect_stdout(sys.stderr):
        found = scorer.plot(own, line)
        if found is None:
            return []
        if wrong := fault_of_plot(found):
            raise PluginError(wrong[:1].upper() + wrong[1:] + ".")
        plot = svg.plot(found.figure, key, found.title, found.meaning, found.says)
    if len(plot.svg) > LARGEST:
        raise PluginError(f"It takes {len(plot.svg):,} bytes, and {LARGEST:,} are allowed. Draw fewer points.")
    return [plot]
