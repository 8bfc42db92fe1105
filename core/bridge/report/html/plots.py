"""The plots of a page: dots with intervals, heat maps and dose curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.metrics import Metric
from bridge.report.html import svg
from bridge.report.html.svg import Plot
from bridge.report.html.words import interval, number, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 22
ANNOTATED = 12
"""Columns of a heat map up to which every cell has its number."""


@final
@dataclass(frozen=True)
class Dot:
    """One line of a plot: a label and a number with its interval."""

    label: str
    metric: Metric


def look(arm: str) -> tuple[str, str, bool]:
    """Return colour, marker, and whether it is filled: arms differ in more than colour, and controls are hollow."""
    known = {
        "mapped": (svg.MAPPED, "o", True),
        "native": (svg.NATIVE, "D", True),
        "self": (svg.NATIVE, "D", True),
        "raw": (svg.RAW, "s", True),
    }
    arm = arm.partition(":")[0]
    return known.get(arm, (svg.CONTROL, "^" if arm == "mispaired" else "v" if arm == "random_map" else "o", False))


def line(arm: str) -> dict[str, Any]:
    """Return the same as properties of matplotlib's lines; those of controls are dashed."""
    colour, marker, filled = look(arm)
    face = colour if filled else "none"
    return {"color": colour, "marker": marker, "markerfacecolor": face, "linestyle": "-" if filled else "--"}


def arms_of(key: str, title: str, meaning: str, metrics: Sequence[Metric]) -> Plot:
    """Draw a line an arm."""
    return dots(key, title, meaning, [Dot(metric.arm, metric) for metric in metrics])


def dots(key: str, title: str, meaning: str, rows: Sequence[Dot]) -> Plot:
    """Draw one line a row: the number as a dot, its 95% interval as a bar, zero as a rule."""
    from matplotlib.figure import Figure

    with svg.drawing():
        figure = Figure(figsize=(svg.WIDTH, 0.42 + 0.27 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for y, row in enumerate(rows):
            colour, marker, filled = look(row.metric.arm)
            low, high = row.metric.low, row.metric.high
            if math.isfinite(low) and math.isfinite(high):
                axes.plot([low, high], [y, y], color=colour, linewidth=2.2, solid_capstyle="round", alpha=0.75)
            face = colour if filled else "none"
            axes.plot([row.metric.value], [y], marker, color=colour, markerfacecolor=face, markersize=6.5)
            at: dict[str, Any] = {
                "xycoords": axes.get_yaxis_transform(),
                "xytext": (54, 0),
                "textcoords": "offset points",
            }
            axes.annotate(number(row.metric.value), (1, y), ha="right", va="center", **at)
        _frame(axes, [row.label for row in rows])
        says = "; ".join(_said(row) for row in rows)
        return svg.plot(figure, key, title, meaning, says)


def strip(key: str, title: str, meaning: str, by_arm: Mapping[str, Sequence[Metric]]) -> Plot:
    """Draw one line an arm: a dot for each pair of references, so that what differs between pairs is seen."""
    from matplotlib.figure import Figure

    with svg.drawing():
        figure = Figure(figsize=(svg.WIDTH, 0.42 + 0.27 * len(by_arm)), layout="constrained")
        axes = figure.subplots()
        for y, (arm, metrics) in enumerate(by_arm.items()):
            colour, marker, filled = look(arm)
            values = [metric.value for metric in metrics]
            style: dict[str, Any] = {"markerfacecolor": colour if filled else "none", "markersize": 6, "alpha": 0.7}
            axes.plot(values, [y] * len(values), marker, color=colour, **style)
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
    from matplotlib.figure import Figure

    rows, columns = values.shape
    with svg.drawing():
        height = min(max(svg.WIDTH * 0.8 * rows / columns, 1.4), 7.0)
        figure = Figure(figsize=(svg.WIDTH, height + 0.5), layout="constrained")
        axes = figure.subplots()
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
    """Draw a number against the dose, a line an arm, with its intervals."""
    from matplotlib.figure import Figure

    with svg.drawing():
        figure = Figure(figsize=(svg.WIDTH, 3.1), layout="constrained")
        axes = figure.subplots()
        for arm, metrics in by_arm.items():
            value, low, high = (np.array([getattr(m, end) for m in metrics]) for end in ("value", "low", "high"))
            axes.fill_between(doses, low, high, color=look(arm)[0], alpha=0.14, linewidth=0)
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


def _said(row: Dot) -> str:
    return f"{row.label} {number(row.metric.value)} {interval(row.metric.low, row.metric.high)}".strip()


def _short(label: str) -> str:
    label = shown(label).replace("\n", " ")
    return label if len(label) <= LONGEST else label[: LONGEST - 1] + "…"
