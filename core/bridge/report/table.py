"""Tables and plain sentences on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.metrics import Metric
from bridge.scorers import MAPPED

if TYPE_CHECKING:
    from rich.console import Console

    from bridge.pipeline.run import Run


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", caption: str = "") -> None:
    """Print a table on standard output; cells are shown as they are, never as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, caption=caption or None, box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    wide_console().print(table)


def wide_console() -> Console:
    """Return a console on standard output; off a terminal rich assumes 80 columns, which would fold every cell."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def print_run(run: Run) -> None:
    """Print a run: what was bridged, every metric beside its controls, and what that says."""
    console = wide_console()
    rows = run.bridge.provenance["rows"]
    arms = list(dict.fromkeys(metric.arm for metric in run.metrics))
    cells = {(metric.name, metric.arm): metric for metric in run.metrics}
    names = list(dict.fromkeys(metric.name for metric in run.metrics))
    print_rows(
        ["held-out score", *arms],
        [[name, *(_cell(cells.get((name, arm)), arm) for arm in arms)] for name in names],
        title=f"{run.bridge.src} -> {run.bridge.dst}, {run.bridge.map}",
    )
    for sentence in sentences(run):
        console.print(sentence, markup=False)
    console.print(
        f"Fitted on {rows['training_rows']:,} paired tokens; scored on {rows['held_out_rows']:,} of "
        f"{rows['held_out_documents']:,} other documents. {rows['coverage_src']:.1%} of the source's tokens had a "
        f"partner; {rows['outliers']:,} of {rows['pairs']:,} pairs left out for their norm.",
        markup=False,
    )
    if run.folder:
        console.print(f"Results: {run.folder}", markup=False)


def sentences(run: Run) -> list[str]:
    """Say what the scores show, and what they do not."""
    by_name = {(metric.name, metric.arm): metric for metric in run.metrics}
    said = []
    for name, what in (
        ("ev", "explains {:.0%} of the held-out variance"),
        ("retrieval@1", "finds {:.0%} of partners"),
    ):
        mapped = by_name.get((name, MAPPED))
        control = by_name.get((name, mapped.control)) if mapped else None
        if mapped and control:
            verdict = "well above" if mapped.low > control.high else "no better than"
            said.append(
                f"The map {what.format(mapped.value)}, {verdict} the same map fitted on {control.arm} rows "
                f"({control.value:.1%})."
            )
    return said


def _cell(metric: Metric | None, arm: str) -> str:
    if metric is None:
        return "-"
    if arm == MAPPED:
        return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
    return f"{metric.value:.3f}"
