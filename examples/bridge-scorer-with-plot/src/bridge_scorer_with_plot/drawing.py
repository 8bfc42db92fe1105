"""The plot: explained variance against the number of the principal component, and the variance there is."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.scorers import MAPPED, Look, Plot

FLOOR = -0.5
"""A random map lies far below, and would press all that is worth seeing against the top."""

NEUTRAL = "0.5"
"""A grey that is seen on white and on black."""


def draw(kept: Mapping[str, NDArray[np.floating]], look: Look) -> Plot:
    """Draw what was kept: `edges` (bands + 1,), `variance` (bands,), and by arm `ev.ARM` (bands, 3), value, low, high.

    Nothing sets a size, a font, or the colour of a text: those are the page's.
    """
    from matplotlib.figure import Figure

    edges = kept["edges"]
    arms = {name.removeprefix("ev."): rows for name, rows in kept.items() if name.startswith("ev.")}
    by_arm = {arm: arms[arm] for arm in sorted(arms, key=lambda arm: (arm != MAPPED, arm))}
    centre = np.sqrt((edges[:-1] + 1) * edges[1:])
    figure = Figure()
    figure.set_figheight(4.4)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(5, 2))
    for arm, rows in by_arm.items():
        value, low, high = rows.T
        top.fill_between(centre, low, high, color=look(arm)["color"], alpha=0.14, linewidth=0)
        top.plot(centre, value, label=arm, linewidth=1.6, markersize=4, **look(arm))
    top.axhline(0, color=NEUTRAL, linewidth=1, zorder=0)
    top.set_ylim(FLOOR, 1.02)
    top.set_ylabel("explained variance")
    bottom.stairs(kept["variance"], edges + 1, fill=True, color=NEUTRAL)
    bottom.set_ylabel("variance")
    bottom.set_xscale("log")
    bottom.set_xlabel("principal component of the destination")
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return Plot(
        figure,
        "Where along the spectrum the map works",
        "; ".join(f"{arm} {_said(edges, rows[:, 0])}" for arm, rows in by_arm.items()),
        "Explained variance of the destination's principal components, the largest first, on documents that did not "
        f"choose them; what lies below {FLOOR} is not shown. Below, the share of the variance that they hold.",
    )


def _said(edges: NDArray[np.floating], value: NDArray[np.floating]) -> str:
    """Name the first band, the middle one and the last one, with their values."""
    said = []
    for band in dict.fromkeys((0, len(value) // 2, len(value) - 1)):
        first, last = int(edges[band]) + 1, int(edges[band + 1])
        where = f"component {first}" if first == last else f"components {first} to {last}"
        said.append(f"{value[band]:.2f} at {where}")
    return ", ".join(said)
