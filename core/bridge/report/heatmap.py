"""A layer sweep as an image and on the terminal: EV and retrieval side by side."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bridge.display.measures import installed_measures
from bridge.display.tables import layer_grid
from bridge.files import write_bytes
from bridge.pipeline.fit.record import SWEEP_CONFIG
from bridge.pipeline.jobs.folder import write_sweep_metrics
from bridge.terminal import cell, console, say

if TYPE_CHECKING:
    from bridge.pipeline.jobs.sweep import Sweep

PICTURE = "sweep.png"


def write_sweep(sweep: Sweep, folder: Path) -> None:
    """Write `sweep.png` and `metrics.json`.

    Raises:
        StoreError: If the folder cannot be written.
    """
    write_bytes(folder / PICTURE, _picture(sweep))
    write_sweep_metrics(folder, sweep.document())


def print_sweep(sweep: Sweep, folder: Path) -> None:
    """Print the numbers of every layer pair, coloured by the last number, and the best pair for each number."""
    from rich import box
    from rich.table import Table

    measures = installed_measures()
    keys = measures.swept(sweep.metrics)
    titles = [measures.title(key, sweep.metrics) for key in keys]
    grids = [layer_grid(sweep.metrics, sweep.src_sites, sweep.dst_sites, key) for key in keys]
    table = Table(box=box.SIMPLE_HEAD)
    for label in ("", *(_layer(site) for site in sweep.dst_sites)):
        table.add_column(cell(label), no_wrap=True)
    for row, site in enumerate(sweep.src_sites):
        cells = [
            cell("/".join(f"{value:.2f}" for value in one), _style(one[-1], np.nanmax(grids[-1])))
            for one in zip(*(values[row] for values in grids), strict=True)
        ]
        table.add_row(cell(_layer(site)), *cells)
    say(f"{' / '.join(titles)} on validation documents (rows: source layer, columns: destination layer)")
    console().print(table)
    for (scorer, name), title in zip(keys, titles, strict=True):
        best = sweep.best(name, scorer)
        say(f"Best {title}: {best.src} -> {best.dst}, {best.value:.3f} [{best.low:.3f}, {best.high:.3f}].")
    scorer, name = keys[-1]
    best = sweep.best(name, scorer)
    say(
        "The best of many pairs is optimistic. High EV with low retrieval comes from position and token shape, not "
        "meaning. To test the best pair with controls on documents outside this sweep:\n"
        f"bridge run {folder / SWEEP_CONFIG} --src {best.src} --dst {best.dst}\n"
        f"Picture: {folder / PICTURE}"
    )


def _picture(sweep: Sweep) -> bytes:
    from matplotlib.figure import Figure

    rows, columns = len(sweep.src_sites), len(sweep.dst_sites)
    measures = installed_measures()
    keys = measures.swept(sweep.metrics)
    figure = Figure(figsize=(len(keys) * (2.2 + 0.42 * columns), 1.8 + 0.32 * rows), layout="constrained")
    for axes, key in zip(figure.subplots(1, len(keys), squeeze=False)[0], keys, strict=True):
        values = layer_grid(sweep.metrics, sweep.src_sites, sweep.dst_sites, key)
        image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            colour = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
        axes.set_xticks(range(columns), [_layer(site) for site in sweep.dst_sites])
        axes.set_yticks(range(rows), [_layer(site) for site in sweep.src_sites])
        axes.set_xlabel(f"{sweep.dst_sites[0].partition('@')[0]} layer")
        axes.set_ylabel(f"{sweep.src_sites[0].partition('@')[0]} layer")
        axes.set_title(f"{measures.title(key, sweep.metrics)} (validation)")
        figure.colorbar(image, ax=axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _style(value: float, best: float) -> str:
    return "bold green" if value == best else "" if value > 0.5 else "dim"


def _layer(site: str) -> str:
    return site.partition("@")[2]
