"""A layer sweep as a picture and on the terminal: EV and retrieval side by side."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bridge.pipeline.jobs.folder import METRICS, SWEEP_CONFIG
from bridge.report.table import say, wide_console
from bridge.store import write_bytes

if TYPE_CHECKING:
    from bridge.pipeline.jobs.sweep import Sweep

SHOWN = ("ev", "retrieval@1")
PICTURE = "sweep.png"


def grid(sweep: Sweep, name: str) -> NDArray[np.float64]:
    """Return one metric of every layer pair, (source layers, destination layers)."""
    values = np.full((len(sweep.src_sites), len(sweep.dst_sites)), np.nan)
    for metric in sweep.metrics:
        if metric.name == name:
            values[sweep.src_sites.index(metric.src), sweep.dst_sites.index(metric.dst)] = metric.value
    return values


def write_sweep(sweep: Sweep, folder: Path) -> None:
    """Write `sweep.png` and `metrics.json`.

    Raises:
        StoreError: If the folder cannot be written.
    """
    data = json.dumps(sweep.document(), indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(folder / METRICS, data.encode())
    write_bytes(folder / PICTURE, _picture(sweep))


def print_sweep(sweep: Sweep, folder: Path) -> None:
    """Print EV / retrieval@1 of every layer pair, coloured by retrieval, and the best pair by each."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    ev, retrieval = (grid(sweep, name) for name in SHOWN)
    table = Table(box=box.SIMPLE_HEAD)
    for label in ("", *(_layer(site) for site in sweep.dst_sites)):
        table.add_column(label, no_wrap=True)
    for row, site in enumerate(sweep.src_sites):
        cells = [
            Text(f"{e:.2f}/{r:.2f}", style="bold green" if r == retrieval.max() else "" if r > 0.5 else "dim")
            for e, r in zip(ev[row], retrieval[row], strict=True)
        ]
        table.add_row(_layer(site), *cells)
    say("EV / retrieval@1 on validation documents (rows: source layer, columns: destination layer)")
    wide_console().print(table)
    for name in SHOWN:
        best = sweep.best(name)
        say(f"Best {name}: {best.src} -> {best.dst}, {best.value:.3f} [{best.low:.3f}, {best.high:.3f}].")
    best = sweep.best(SHOWN[1])
    say(
        "The best of many is optimistic, and high EV with low retrieval is position and token shape, not meaning. "
        "To test the best pair beside its controls, on documents that this sweep has not seen:\n"
        f"bridge run {folder / SWEEP_CONFIG} --src {best.src} --dst {best.dst}\n"
        f"Picture: {folder / PICTURE}"
    )


def _picture(sweep: Sweep) -> bytes:
    from matplotlib.figure import Figure

    rows, columns = len(sweep.src_sites), len(sweep.dst_sites)
    figure = Figure(figsize=(2 * (2.2 + 0.42 * columns), 1.8 + 0.32 * rows), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), SHOWN, strict=True):
        values = grid(sweep, name)
        image = axes.imshow(values, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            colour = "black" if value > 0.6 else "white"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=7)
        axes.set_xticks(range(columns), [_layer(site) for site in sweep.dst_sites])
        axes.set_yticks(range(rows), [_layer(site) for site in sweep.src_sites])
        axes.set_xlabel(f"{sweep.dst_sites[0].partition('@')[0]} layer")
        axes.set_ylabel(f"{sweep.src_sites[0].partition('@')[0]} layer")
        axes.set_title(f"{name} (validation)")
        figure.colorbar(image, ax=axes)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def _layer(site: str) -> str:
    return site.partition("@")[2]
