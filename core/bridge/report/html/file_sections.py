"""Results of other commands as sections: audits, steering, sweeps and readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from bridge.errors import BridgeError
from bridge.report.html.inputs import AuditFile, ReadingsFile, SteeringFile, SweepFiles
from bridge.report.html.plots import curves, heat, strip
from bridge.report.html.section import Section
from bridge.report.html.svg import Plot
from bridge.report.html.tables import in_order, metric_table
from bridge.report.html.words import ARMS
from bridge.report.measures import Measures, asks
from bridge.report.steer import regime
from bridge.scorers import MAPPED, RANDOM_DIRECTION, RAW


def audit_section(found: AuditFile, key: str, measures: Measures) -> Section:
    """Show every question whose metric was measured: its table a pair, and what the number does not show."""
    questions = []
    for at, (question, number) in enumerate(measures.questions(found.metrics)):
        metrics = [metric for metric in found.metrics if asks(question, number, metric)]
        by_pair = [(pair, list(some)) for pair, some in groupby(metrics, lambda m: f"{m.src} → {m.dst}")]
        arms = in_order(dict.fromkeys(metric.arm for metric in metrics), ARMS)
        by_arm = {arm: [metric for metric in metrics if metric.arm == arm] for arm in arms}
        rows = [(pair, [next((m for m in some if m.arm == arm), None) for arm in arms]) for pair, some in by_pair]
        if metrics:
            plot = strip(f"{key}-plot{at}", number[1], measures.of(metrics[0]).meaning, by_arm)
            questions.append({"question": question, "name": number[1], "plots": [plot], "arms": arms, "rows": rows})
    data = {"questions": questions, "name": found.path.name, "metrics": found.metrics, "pairs": found.pairs}
    return Section(key, "Does the dictionary carry over?", "audit", data)


def steering_section(found: SteeringFile, key: str, measures: Measures) -> Section:
    """Show effect against dose for every arm, the regime in words, and generated texts side by side."""
    cells = {(metric.name, metric.arm): metric for metric in found.metrics}
    said = [
        f"At dose {metric.name.rpartition('@')[2]} the {metric.arm} vector is {regime(metric, random)}."
        for metric in found.metrics
        if metric.name.startswith("transfer_ratio@") and metric.arm in (MAPPED, RAW)
        if (random := cells.get((metric.name, RANDOM_DIRECTION)))
    ]
    names = list(dict.fromkeys(metric.name.rpartition("@")[0] for metric in found.metrics))
    plots = [_dose_curve(found, name, f"{key}-plot{at}", measures) for at, name in enumerate(names)]
    first, second = found.about["contrast"]["classes"]
    data = {
        "sentences": said,
        "plots": plots,
        "table": metric_table("Effect at each dose, with 95% intervals over the tested texts", found.metrics, measures),
        "generated": [_apart(texts) for texts in found.generated],
        "classes": (first, second),
        "about": found.about,
        "name": found.path.name,
        "metrics": found.metrics,
    }
    return Section(key, "Do steering vectors carry over?", "steering", data)


def _apart(texts: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    return texts["prompt"], {arm: text for arm, text in texts.items() if arm != "prompt"}


def _dose_curve(found: SteeringFile, name: str, key: str, measures: Measures) -> Plot:
    metrics = [metric for metric in found.metrics if metric.name.rpartition("@")[0] == name]
    try:
        doses = sorted({float(metric.name.rpartition("@")[2]) for metric in metrics})
    except ValueError as error:
        raise BridgeError(f"{found.path} holds the metric {metrics[0].name}, which names no dose.") from error
    by_arm = {
        arm: sorted((m for m in metrics if m.arm == arm), key=lambda m: float(m.name.rpartition("@")[2]))
        for arm in dict.fromkeys(metric.arm for metric in metrics)
    }
    whole = {arm: some for arm, some in by_arm.items() if len(some) == len(doses)}
    return curves(key, name, measures.of(metrics[0]).meaning, doses, whole)


def sweep_section(found: SweepFiles, key: str, measures: Measures) -> Section:
    """Show EV and retrieval of every layer pair beside each other: either alone misleads."""
    src, dst = (list(dict.fromkeys(getattr(metric, side) for metric in found.metrics)) for side in ("src", "dst"))
    grids = []
    for at, number in enumerate(measures.swept(found.metrics)):
        name = measures.title(number, found.metrics)
        values = np.full((len(src), len(dst)), np.nan)
        metrics = [metric for metric in found.metrics if (metric.scorer, metric.name) == number]
        for metric in metrics:
            values[src.index(metric.src), dst.index(metric.dst)] = metric.value
        rows, columns = ([_layer(site) for site in some] for some in (src, dst))
        labels = f"layer of {_model(src)}", f"layer of {_model(dst)}"
        plot = heat(f"{key}-{at}", name, measures.of(metrics[0]).meaning, values, (0.0, 1.0), labels, (rows, columns))
        best = max(metrics, key=lambda metric: metric.value)
        grids.append({"name": name, "plot": plot, "rows": rows, "columns": columns, "values": values, "best": best})
    data = {"grids": grids, "name": found.path.name, "metrics": found.metrics, "models": (_model(src), _model(dst))}
    return Section(key, "Which layers go together?", "sweep", data)


def readings_section(found: ReadingsFile, key: str) -> Section:
    """Show what a verbalizer said of activations or directions, and how much of it is reconstructed."""
    return Section(key, "What another model reads", "readings", found)


def _layer(site: str) -> str:
    return site.rpartition("@")[2]


def _model(sites: Sequence[str]) -> str:
    return sites[0].rpartition("@")[0] if sites else ""
