"""Results as a notebook shows them: a line of what they are, tables, and for a sweep its heat maps."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from bridge.metrics import Metric
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.jobs.audit import Audit
from bridge.pipeline.jobs.explain import Readings
from bridge.pipeline.jobs.run import Run
from bridge.pipeline.jobs.steer import Steering
from bridge.pipeline.jobs.sweep import Sweep
from bridge.pipeline.result import Result, Shown
from bridge.report.heatmap import grid
from bridge.report.html.plots import heat, score_plots
from bridge.report.html.sections import Table, metric_table
from bridge.report.html.svg import Plot
from bridge.report.html.words import interval, number, plain, shown
from bridge.report.measures import Measures, asks, installed_measures
from bridge.scorers import Section

STYLE = Markup(
    "<style>.bridge-result{--rule:#8888;--mapped:#3b82c4;--native:#3f9a6c;--raw:#c07a2c;--control:#85898f}"
    ".bridge-result table{border-collapse:collapse}.bridge-result td,.bridge-result th{text-align:left;"
    "vertical-align:top;padding:.2em .8em .2em 0}.bridge-result small{opacity:.7}.bridge-result .plots{display:flex;"
    "flex-wrap:wrap;gap:1em}.bridge-result image{image-rendering:pixelated}"
    ".bridge-result caption{text-align:left}.bridge-result .wide{overflow-x:auto}"
    ".bridge-result td{white-space:pre-wrap}</style>"
)
"""Colours that are read on light and dark alike: a notebook does not say which it is."""

MOST = 200
"""Rows of a table; the result itself, and `to_frame`, have all of them."""


def notebook_html(result: Shown) -> str:
    """Return a result as a fragment of HTML that needs nothing; every text in it is escaped.

    Args:
        result: What a call of the face returned.
    """
    parts: list[Markup]
    match result:
        case Bridge():
            parts = [_bridge(result)]
        case Run():
            parts = _run(result)
        case Sweep():
            parts = _sweep(result)
        case Audit():
            parts = _audit(result)
        case Steering():
            parts = _steering(result)
        case Readings():
            parts = [_readings(result)]
        case Result():
            parts = [_records(result)]
        case _:
            parts = []
    body = Markup("").join([_line(repr(result)), *parts])
    return str(Markup('<div class="bridge-result">{}{}</div>').format(STYLE, body))


def _bridge(bridge: Bridge) -> Markup:
    chosen = {name: plain(value) for name, value in bridge.fitted.chosen().items()}
    facts = {"source": bridge.src, "destination": bridge.dst, "map": bridge.map} | bridge.options | chosen
    rows = bridge.provenance.get("rows", {})
    facts |= {name.replace("_", " "): rows[name] for name in ("training_rows", "held_out_rows") if name in rows}
    return _table("", ["", ""], [[name, plain(value)] for name, value in facts.items()])


def _run(run: Run) -> list[Markup]:
    measures, key = installed_measures(), _key(run.metrics)
    parts: list[Markup] = []
    for section in Section:
        found = measures.within(run.metrics, section)
        if found:
            parts += map(_line, measures.sentences(run.metrics, section))
            parts.append(_plots(score_plots(found, measures, f"{key}-{section.name.lower()}")))
            parts.append(_metrics(f"{section.value} Held-out scores, with 95% intervals", found, measures))
    return parts


def _sweep(sweep: Sweep) -> list[Markup]:
    measures = installed_measures()
    key = _key(sweep.metrics)
    ticks = _layers(sweep.src_sites), _layers(sweep.dst_sites)
    plots, lines = [], []
    for at, name in enumerate(measures.swept(sweep.metrics)):
        title = measures.title(name, sweep.metrics)
        best = sweep.best(name[1], name[0])
        labels = f"layer of {best.src.rpartition('@')[0]}", f"layer of {best.dst.rpartition('@')[0]}"
        plots.append(heat(f"{key}-{at}", title, measures.of(best).meaning, grid(sweep, name), (0, 1), labels, ticks))
        lines.append(
            _line(f"Best {title}: {best.src} → {best.dst}, {number(best.value)} {interval(best.low, best.high)}")
        )
    return [*lines, _plots(plots)]


def _audit(audit: Audit) -> list[Markup]:
    measures = installed_measures()
    parts = []
    for question, key in measures.questions(audit.metrics):
        found = [metric for metric in audit.metrics if asks(question, key, metric)]
        arms = list(dict.fromkeys(metric.arm for metric in found))
        cells = {(metric.src, metric.dst, metric.arm): metric for metric in found}
        pairs = list(dict.fromkeys((metric.src, metric.dst) for metric in found))
        rows = [[f"{src} → {dst}", *(_cell(cells.get((src, dst, arm))) for arm in arms)] for src, dst in pairs]
        if found:
            parts += [_table(question.title, ["", *arms], rows), _line(question.shows)]
    return parts


def _steering(steering: Steering) -> list[Markup]:
    title = "Effect at each dose, with 95% intervals over the tested texts"
    parts = [_metrics(title, steering.metrics, installed_measures())]
    for texts in steering.generated:
        rows = [[arm, text] for arm, text in texts.items() if arm != "prompt"]
        parts.append(_table(texts["prompt"], ["arm", "generates"], rows))
    return parts


def _readings(readings: Readings) -> Markup:
    rows = [
        [one.token if one.position >= 0 else one.text, one.explanation, ", ".join(one.flags), number(one.round_trip)]
        for one in readings.readings
    ]
    return _table("", ["read", "explanation", "flags", "round trip"], rows)


def _records(result: Result) -> Markup:
    records = result.records()
    columns = list(records[0]) if records else []
    return _table("", columns, [[plain(record[column]) for column in columns] for record in records])


def _metrics(caption: str, metrics: Sequence[Metric], measures: Measures) -> Markup:
    table: Table = metric_table(caption, metrics, measures)
    rows = [[row.name, *map(_cell, row.cells), row.control, row.meaning] for row in table.rows]
    return _table(caption, ["", *table.arms, "read mapped against", ""], rows)


def _cell(metric: Metric | None) -> str:
    return "–" if metric is None else f"{number(metric.value)} {interval(metric.low, metric.high)}".strip()


def _table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = _cells("<th>{}</th>", columns)
    body = Markup("").join(Markup("<tr>{}</tr>").format(_cells("<td>{}</td>", row)) for row in rows[:MOST])
    cut = _line(f"The first {MOST} of {len(rows):,} rows.") if len(rows) > MOST else Markup("")
    table = "<table><caption>{}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
    return Markup('<div class="wide">' + table + "{}</div>").format(shown(caption), head, body, cut)


def _cells(cell: str, texts: Iterable[str]) -> Markup:
    return Markup("").join(Markup(cell).format(shown(text)) for text in texts)


def _line(text: str) -> Markup:
    return Markup("<p>{}</p>").format(shown(text))


def _plots(plots: Sequence[Plot]) -> Markup:
    figure = Markup("<figure><figcaption><b>{}</b> <small>{}</small></figcaption>{}</figure>")
    figures = [figure.format(shown(plot.title), shown(plot.meaning), plot.svg) for plot in plots]
    return Markup('<div class="plots">{}</div>').format(Markup("").join(figures))


def _key(metrics: Sequence[Metric]) -> str:
    """Return what the ids of a result's plots begin with: a notebook is one page of many results."""
    return f"b{hashlib.sha256(repr(metrics).encode()).hexdigest()[:12]}"


def _layers(sites: Sequence[str]) -> list[str]:
    return [site.rpartition("@")[2] for site in sites]
