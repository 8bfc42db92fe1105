"""Results in a notebook: a headline, sentences, tables and plots; all texts are escaped."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from bridge.display.measures import Measures, asks, installed_measures
from bridge.display.plots import heat, score_plots
from bridge.display.svg import Plot
from bridge.display.tables import layer_grid, metric_table
from bridge.display.words import interval, number, plain, shown
from bridge.metrics import Metric
from bridge.scorers import Section

STYLE = Markup(
    "<style>.bridge-result{--rule:#8888;--mapped:#3b82c4;--native:#3f9a6c;--raw:#c07a2c;--control:#85898f}"
    ".bridge-result table{border-collapse:collapse}.bridge-result td,.bridge-result th{text-align:left;"
    "vertical-align:top;padding:.2em .8em .2em 0}.bridge-result small{opacity:.7}.bridge-result .plots{display:flex;"
    "flex-wrap:wrap;gap:1em}.bridge-result image{image-rendering:pixelated}"
    ".bridge-result caption{text-align:left}.bridge-result .wide{overflow-x:auto}"
    ".bridge-result td{white-space:pre-wrap}</style>"
)
"""Colours that are readable on light and dark backgrounds: a notebook does not report its theme."""

MOST = 200
"""Maximal number of table rows shown; the result and `to_frame` have all rows."""


def fragment(line: str, parts: Iterable[Markup]) -> str:
    """Return a result as a self-contained fragment of HTML.

    Args:
        line: Headline of the result; escaped here.
        parts: Tables and plots, from the functions below.
    """
    body = Markup("").join([_line(line), *parts])
    return str(Markup('<div class="bridge-result">{}{}</div>').format(STYLE, body))


def scores(metrics: Sequence[Metric]) -> list[Markup]:
    """Show metrics of one pair of sites: sentences, plots and a table for each question."""
    measures, key = installed_measures(), _key(metrics)
    parts: list[Markup] = []
    for section in Section:
        found = measures.within(metrics, section)
        if found:
            parts += map(_line, measures.sentences(metrics, section))
            parts.append(_plots(score_plots(found, measures, f"{key}-{section.name.lower()}")))
            parts.append(_metrics(f"{section.value} Held-out scores, with 95% intervals", found, measures))
    return parts


def layers(
    metrics: Sequence[Metric],
    src_sites: Sequence[str],
    dst_sites: Sequence[str],
    best: Callable[[str, str], Metric],
) -> list[Markup]:
    """Show a layer sweep: the best pair by each number, with its name and scorer, and heat maps."""
    measures = installed_measures()
    key = _key(metrics)
    ticks = _layers(src_sites), _layers(dst_sites)
    plots, lines = [], []
    for at, name in enumerate(measures.swept(metrics)):
        title = measures.title(name, metrics)
        top = best(name[1], name[0])
        labels = f"layer of {top.src.rpartition('@')[0]}", f"layer of {top.dst.rpartition('@')[0]}"
        values = layer_grid(metrics, src_sites, dst_sites, name)
        plots.append(heat(f"{key}-{at}", title, measures.of(top).meaning, values, (0, 1), labels, ticks))
        lines.append(_line(f"Best {title}: {top.src} → {top.dst}, {number(top.value)} {interval(top.low, top.high)}"))
    return [*lines, _plots(plots)]


def answers(metrics: Sequence[Metric]) -> list[Markup]:
    """Show an audit: a table for each question, with a row for each pair of sites."""
    measures = installed_measures()
    parts = []
    for question, key in measures.questions(metrics):
        found = [metric for metric in metrics if asks(question, key, metric)]
        arms = list(dict.fromkeys(metric.arm for metric in found))
        cells = {(metric.src, metric.dst, metric.arm): metric for metric in found}
        pairs = list(dict.fromkeys((metric.src, metric.dst) for metric in found))
        rows = [[f"{src} → {dst}", *(_cell(cells.get((src, dst, arm))) for arm in arms)] for src, dst in pairs]
        if found:
            parts += [table(question.title, ["", *arms], rows), _line(question.shows)]
    return parts


def doses(metrics: Sequence[Metric]) -> Markup:
    """Show the effects of steering, one row per measure and dose."""
    return _metrics("Effect at each dose, with 95% intervals over the tested texts", metrics, installed_measures())


def facts(values: Mapping[str, Any]) -> Markup:
    """Show named values, one per row."""
    return table("", ["", ""], [[name, plain(value)] for name, value in values.items()])


def records(rows: Sequence[Mapping[str, Any]]) -> Markup:
    """Show records, one column per field of the first record."""
    columns = list(rows[0]) if rows else []
    return table("", columns, [[plain(row[column]) for column in columns] for row in rows])


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """Show the first rows of a table, and the number of all rows; all texts are escaped."""
    head = _cells("<th>{}</th>", columns)
    body = Markup("").join(Markup("<tr>{}</tr>").format(_cells("<td>{}</td>", row)) for row in rows[:MOST])
    cut = _line(f"The first {MOST} of {len(rows):,} rows.") if len(rows) > MOST else Markup("")
    whole = "<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
    return Markup('<div class="wide">' + whole + "{}</div>").format(shown(caption), head, body, cut)


def _metrics(caption: str, metrics: Sequence[Metric], measures: Measures) -> Markup:
    found = metric_table(caption, metrics, measures)
    rows = [[row.name, *map(_cell, row.cells), row.control, row.meaning] for row in found.rows]
    return table(caption, ["", *found.arms, "read mapped against", ""], rows)


def _cell(metric: Metric | None) -> str:
    return "–" if metric is None else f"{number(metric.value)} {interval(metric.low, metric.high)}".strip()


def _cells(cell: str, texts: Iterable[str]) -> Markup:
    return Markup("").join(Markup(cell).format(shown(text)) for text in texts)


def _line(text: str) -> Markup:
    return Markup("<p>{}</p>").format(shown(text))


def _plots(plots: Sequence[Plot]) -> Markup:
    figure = Markup("<figure><figcaption><b>{}</b> <small>{}</small></figcaption>{}</figure>")
    figures = [figure.format(shown(plot.title), shown(plot.meaning), plot.svg) for plot in plots]
    return Markup('<div class="plots">{}</div>').format(Markup("").join(figures))


def _key(metrics: Sequence[Metric]) -> str:
    """Return the prefix of the ids of a result's plots: a notebook is one page with many results."""
    return f"b{hashlib.sha256(repr(metrics).encode()).hexdigest()[:12]}"


def _layers(sites: Sequence[str]) -> list[str]:
    return [site.rpartition("@")[2] for site in sites]
