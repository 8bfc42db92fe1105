"""Tables and plain sentences on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.display.measures import Measures
from bridge.metrics import Metric
from bridge.scorers import MAPPED, Section
from bridge.terminal import cell, console, say

if TYPE_CHECKING:
    from bridge.pipeline.jobs.run import Run


def print_rows(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str = "", caption: str = "") -> None:
    """Print a table on standard output; text is never interpreted as markup or terminal control."""
    from rich import box
    from rich.table import Table

    table = Table(title=cell(title), caption=cell(caption), box=box.SIMPLE_HEAD, title_justify="left")
    for column in columns:
        table.add_column(cell(column), overflow="fold")
    for row in rows:
        table.add_row(*map(cell, row))
    console().print(table)


def print_run(run: Run, measures: Measures) -> None:
    """Print a run: the two models, every metric with its controls, and the results in words."""
    rows = run.bridge.provenance["rows"]
    washouts = run.bridge.provenance.get("verbalized", {}).get("washouts", [])
    # Only the report compares other washouts: here they would take too much space.
    shown = [metric for metric in run.metrics if not metric.name.endswith(tuple(f"@{one}" for one in washouts[1:]))]
    for at, metrics in enumerate(_alike(shown)):
        scorers = ", ".join(dict.fromkeys(metric.scorer for metric in metrics))
        _print_metrics(metrics, scorers if at else f"{run.bridge.src} -> {run.bridge.dst}, {run.bridge.map}")
    for sentence in measures.sentences(run.metrics, Section.MAP, Section.DICTIONARY):
        say(sentence)
    say(
        f"Fitted on {rows['training_rows']:,} paired tokens; scored on {rows['held_out_rows']:,} of "
        f"{rows['held_out_documents']:,} held-out documents of the same corpus. {rows['coverage_src']:.1%} of the "
        f"source's tokens had a partner; {rows['outliers']:,} of {rows['pairs']:,} pairs left out for their norm; "
        f"{rows['cut_documents']:,} documents cut at --max-tokens."
    )
    if run.folder:
        say(f"Results: {run.folder}")


def _alike(metrics: Sequence[Metric]) -> list[list[Metric]]:
    """Group the metrics that have the same arms, so that tables have no empty columns."""
    arms: dict[tuple[str, str], list[str]] = {}
    for metric in metrics:
        arms.setdefault((metric.scorer, metric.name), []).append(metric.arm)
    tables: dict[frozenset[str], list[Metric]] = {}
    for metric in metrics:
        tables.setdefault(frozenset(arms[metric.scorer, metric.name]), []).append(metric)
    return list(tables.values())


def _print_metrics(metrics: Sequence[Metric], title: str) -> None:
    arms = list(dict.fromkeys(metric.arm for metric in metrics))
    cells = {(metric.scorer, metric.name, metric.arm): metric for metric in metrics}
    names = list(dict.fromkeys((metric.scorer, metric.name) for metric in metrics))
    against = {metric.name: metric.control for metric in metrics if metric.arm == MAPPED}
    print_rows(
        ["held-out score", *arms, "compare mapped with"],
        [
            [name, *(_cell(cells.get((by, name, arm)), arm) for arm in arms), against.get(name, "")]
            for by, name in names
        ],
        title=title,
    )


def _cell(metric: Metric | None, arm: str) -> str:
    if metric is None:
        return "-"
    if arm == MAPPED:
        return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
    return f"{metric.value:.3f}"
