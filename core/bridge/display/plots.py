"""The plots of a page: dots with intervals, heat maps and dose curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.display import svg
from bridge.display.measures import Measures
from bridge.display.svg import Plot
from bridge.display.words import interval, number, shown
from bridge.metrics import Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 22
ANNOTATED = 12
"""Maximal number of columns of a heat map whose cells show their numbers."""


Dot = tuple[str, Metric]
"""One line of a plot: a label and a number with its interval."""


def line(arm: str) -> dict[str, Any]:
    """Return an arm's matplotlib properties: arms differ in marker and colour, and markers of controls are hollow."""
    known = {"mapped": (svg.MAPPED, "o"), "native": (svg.NATIVE, "D"), "self": (svg.NATIVE, "D"), "raw": (svg.RAW, "s")}
    arm = arm.partition(":")[0]
    if arm in known:
        colour, marker = known[arm]
        return {"color": colour, "marker": marker, "markerfacecolor": colour, "linestyle": "-"}
    marker = {"mispaired": "^", "random_map": "v"}.get(arm, "o")
    return {"color": svg.CONTROL, "marker": marker, "markerfacecolor": "none", "linestyle": "--"}


def score_plots(metrics: Sequence[Metric], measures: Measures, key: str) -> list[Plot]:
    """Draw each scorer's headlines, one line per arm; the table has all other numbers."""
    plots = []
    for at, headline in enumerate(measures.headlines(metrics)):
        some = [metric for metric in metrics if (metric.scorer, metric.name) == headline]
        lines = [(metric.arm, metric) for metric in some]
        plots.append(dots(f"{key}-plot{at}", measures.title(headline, metrics), measures.of(some[0]).meaning, lines))
    return plots


def dots(key: str, title: str, meaning: str, rows: Sequence[Dot]) -> Plot:
    """Draw one line per row: the number as a dot, its 95% interval as a bar, zero as a rule."""
    with svg.axes_of(0.42 + 0.27 * len(rows)) as (figure, axes):
        for y, (_, metric) in enumerate(rows):
            style = line(metric.arm)
            if math.isfinite(metric.low) and math.isfinite(metric.high):
                ends = [metric.low, metric.high]
                axes.plot(ends, [y, y], color=style["color"], linewidth=2.2, solid_capstyle="round", alpha=0.75)
            axes.plot([metric.value], [y], **style | {"linestyle": "none"}, markersize=6.5)
            at: dict[str, Any] = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points"}
            axes.annotate(number(metric.value), (1, y), xytext=(54, 0), ha="right", va="center", **at)
        _frame(axes, [label for label, _ in rows])
        says = "; ".join(f"{label} {number(m.value)} {interval(m.low, m.high)}".strip() for label, m in rows)
        return svg.plot(figure, key, title, meaning, says)


def strip(key: str, title: str, meaning: str, by_arm: Mapping[str, Sequence[Metric]]) -> Plot:
    """Draw one line per arm, with a dot for each pair of references, to show the differences between pairs."""
    with svg.axes_of(0.42 + 0.27 * len(by_arm)) as (figure, axes):
        for y, (arm, metrics) in enumerate(by_arm.items()):
            style = line(arm) | {"linestyle": "none", "markersize": 6, "alpha": 0.7}
            axes.plot([metric.value for metric in metrics], [y] * len(metrics), **style)
        _frame(axes, list(by_arm))
        ends = {arm: (min(m.value for m in some), max(m.value for m in some)) for arm, some in by_arm.items()}
        says = "; ".join(f"{arm} from {number(low)} to {number(high)}" for arm, (low, high) in ends.items())
        return svg.plot(figure, key, title, meaning, says)


def heat(
    key: str,
    title: str,
    meaning: str,
    values: NDArray[np.floating],
    ends: tuple[float, float],
    labels: tuple[str, str],
    ticks: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Plot:
    """Draw a matrix; rows are the first of `labels` and `ticks`, columns the second."""
    rows, columns = values.shape
    with svg.axes_of(0.5 + min(max(svg.WIDTH * 0.8 * rows / columns, 1.4), 7.0)) as (figure, axes):
        image = axes.imshow(values, cmap="viridis", vmin=ends[0], vmax=ends[1], aspect="auto", interpolation="none")
        axes.set_ylabel(shown(labels[0]))
        axes.set_xlabel(shown(labels[1]))
        _label_cells(axes, values, ends, ticks)
        for spine in axes.spines.values():
            spine.set_visible(False)
        bar = figure.colorbar(image, ax=axes, aspect=30, pad=0.02)
        bar.outline.set_visible(False)
        says = f"{rows} rows, {columns} columns; from {number(np.nanmin(values))} to {number(np.nanmax(values))}"
        return svg.plot(figure, key, title, meaning, says)


def curves(key: str, title: str, meaning: str, doses: Sequence[float], by_arm: Mapping[str, Sequence[Metric]]) -> Plot:
    """Draw a number against the dose, one line per arm, with its intervals."""
    with svg.axes_of(3.1) as (figure, axes):
        for arm, metrics in by_arm.items():
            value, low, high = (np.array([getattr(m, end) for m in metrics]) for end in ("value", "low", "high"))
            axes.fill_between(doses, low, high, color=line(arm)["color"], alpha=0.14, linewidth=0)
            axes.plot(doses, value, label=shown(arm), linewidth=1.8, **line(arm))
        axes.axhline(0, color=svg.RULE, linewidth=1, zorder=0)
        axes.set_xlabel("dose")
        axes.set_xticks(doses, [f"{dose:g}" for dose in doses])
        figure.legend(loc="outside upper left", ncols=2, frameon=False)
        says = "; ".join(f"{arm} {', '.join(number(one.value) for one in some)}" for arm, some in by_arm.items())
        return svg.plot(figure, key, title, meaning, says)


def _frame(axes: Axes, labels: Sequence[str]) -> None:
    axes.axvline(0, color=svg.RULE, linewidth=1, zorder=0)
    axes.set_yticks(range(len(labels)), [_short(label) for label in labels])
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.margins(x=0.06)
    low, high = axes.get_xlim()
    if high - low < 1e-6:
        axes.set_xlim(min(low - 0.05, 0), max(high + 0.05, 1))
    axes.locator_params(axis="x", nbins=4)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.spines["left"].set_visible(False)


def _label_cells(axes: Axes, values: NDArray[np.floating], ends: tuple[float, float], ticks: Any) -> None:
    if ticks is None:
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_yticks(range(len(ticks[0])), [_short(tick) for tick in ticks[0]])
    axes.set_xticks(range(len(ticks[1])), [_short(tick) for tick in ticks[1]])
    if len(ticks[1]) <= ANNOTATED:
        for (row, column), value in np.ndenumerate(values):
            if math.isnan(value):
                continue
            dark = value < ends[0] + 0.6 * (ends[1] - ends[0])
            colour = "white" if dark else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=9)


def _short(label: str) -> str:
    label = shown(label).replace("\n", " ")
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"
