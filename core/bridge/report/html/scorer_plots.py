"""Plots that scorers draw from their kept arrays; a failing plot does not affect the rest of the page."""

from __future__ import annotations

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
from bridge.scorers import Scorer
from bridge.terminal import aside

Kept = Mapping[str, NDArray[np.floating]]

LARGEST = 2 * 2**20
"""Maximal size of a plot in the page, in bytes."""


def scorer_plots(run: RunFiles, key: str) -> tuple[list[Plot], dict[str, str]]:
    """Let every scorer of a run draw its kept arrays.

    Args:
        run: The files of the run's folder.
        key: Prefix of the plots' keys.

    Returns:
        The plots, and the reasons for missing plots, by the name of the scorer.
    """
    names = dict.fromkeys(metric.scorer for metric in run.metrics)
    by_scorer = {name: own for name in names if (own := own_arrays(name, run.kept))}
    installed = discover().scorers if by_scorer else {}
    plots: list[Plot] = []
    undrawn: dict[str, str] = {}
    for at, (name, own) in enumerate(by_scorer.items()):
        if name not in installed:
            undrawn[name] = "the scorer is not installed. Install its package, and run bridge report again."
            continue
        try:
            plots += draw(installed[name], own, f"{key}-own{at}")
        except Exception as error:
            undrawn[name] = f"{type(error).__name__}: {error}"
    return plots, undrawn


def own_arrays(name: str, kept: Kept) -> dict[str, NDArray[np.floating]]:
    """Return the arrays that a scorer kept for its plot, by names without the scorer's prefix."""
    return {one.removeprefix(f"{name}."): array for one, array in kept.items() if one.startswith(f"{name}.")}


def draw(scorer: Scorer, own: Kept, key: str) -> list[Plot]:
    """Return a scorer's plot in the page's style, or an empty list if it has no plot.

    Raises:
        PluginError: If the returned value is not a plot, or is too large. Errors of the scorer pass through.
    """
    from matplotlib import rc_context

    # The plugin supplies mathematical text, as in ticks of a logarithmic axis; a parse error leaves out its plot.
    with svg.drawing(), rc_context({"text.parse_math": True}), aside():
        found = scorer.plot(own, line)
        if found is None:
            return []
        if wrong := fault_of_plot(found):
            raise PluginError(wrong[:1].upper() + wrong[1:] + ".")
        plot = svg.plot(found.figure, key, found.title, found.meaning, found.says)
    if len(plot.svg) > LARGEST:
        raise PluginError(f"The plot has {len(plot.svg):,} bytes; the limit is {LARGEST:,}. Draw fewer points.")
    return [plot]
