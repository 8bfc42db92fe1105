"""Results of other commands as sections: audits, steering, sweeps and readings."""

from __future__ import annotations

from itertools import groupby

from bridge.display.measures import Measures, asks
from bridge.display.plots import curves, heat, strip
from bridge.display.svg import Plot
from bridge.display.tables import in_order, layer_grid, metric_table
from bridge.display.words import ARMS
from bridge.errors import BridgeError
from bridge.metrics import Metric
from bridge.pipeline.jobs.results import ResultFile
from bridge.report.html.sections import Section
from bridge.report.steer import regime
from bridge.scorers import MAPPED, RANDOM_DIRECTION, RAW

TITLES = {
    "audit": "Does the dictionary transfer?",
    "steering": "Do steering vectors transfer?",
    "sweep": "Which layers match?",
    "readings": "Explanations by another model",
}


def file_section(found: ResultFile, key: str, measures: Measures) -> Section:
    """Return the section of a result file, by the command that wrote it; keys of plots begin with `key`."""
    data = {"file": found.path.name, "result": found.result}
    if found.kind == "audit":
        data["questions"] = _audit(found.result.metrics, key, measures)
        pairs = found.result.bridge["pairs"]
        for name in ("remarks", "untrained"):
            data[name] = list(dict.fromkeys(remark for pair in pairs for remark in pair.get(name) or []))
    elif found.kind == "steering":
        data |= _steering(found, key, measures)
    elif found.kind == "sweep":
        data |= _sweep(found.result.metrics, key, measures)
    return Section(key, TITLES[found.kind], found.kind, data)


def _audit(all_metrics: list[Metric], key: str, measures: Measures) -> list[dict[str, object]]:
    """Show every question whose metric was measured: one table per pair, and the limits of the number."""
    questions = []
    for at, (question, number) in enumerate(measures.questions(all_metrics)):
        metrics = [metric for metric in all_metrics if asks(question, number, metric)]
        if not metrics:
            continue
        arms = in_order(dict.fromkeys(metric.arm for metric in metrics), ARMS)
        by_arm = {arm: [metric for metric in metrics if metric.arm == arm] for arm in arms}
        by_pair = [(pair, list(some)) for pair, some in groupby(metrics, lambda m: f"{m.src} → {m.dst}")]
        rows = [(pair, [next((m for m in some if m.arm == arm), None) for arm in arms]) for pair, some in by_pair]
        plots = [strip(f"{key}-plot{at}", number[1], measures.of(metrics[0]).meaning, by_arm)]
        questions.append({"question": question, "name": number[1], "plots": plots, "arms": arms, "rows": rows})
    return questions


def _steering(found: ResultFile, key: str, measures: Measures) -> dict[str, object]:
    """Show effect against dose for every arm, the regime in words, and generated texts side by side."""
    metrics = found.result.metrics
    cells = {(metric.name, metric.arm): metric for metric in metrics}
    sentences = [
        f"At dose {metric.name.rpartition('@')[2]} the {metric.arm} vector is {regime(metric, random)}."
        for metric in metrics
        if metric.name.startswith("transfer_ratio@") and metric.arm in (MAPPED, RAW)
        if (random := cells.get((metric.name, RANDOM_DIRECTION)))
    ]
    names = enumerate(dict.fromkeys(metric.name.rpartition("@")[0] for metric in metrics))
    caption = "Effect at each dose, with 95% intervals over the tested texts"
    return {
        "sentences": sentences,
        "plots": [_dose_curve(found, name, f"{key}-plot{at}", measures) for at, name in names],
        "table": metric_table(caption, metrics, measures),
    }


def _dose_curve(found: ResultFile, name: str, key: str, measures: Measures) -> Plot:
    by_arm: dict[str, dict[float, Metric]] = {}
    for metric in found.result.metrics:
        measure, _, dose = metric.name.rpartition("@")
        if measure != name:
            continue
        try:
            by_arm.setdefault(metric.arm, {})[float(dose)] = metric
        except ValueError as error:
            raise BridgeError(f"The metric {metric.name} in {found.path} has no dose in its name.") from error
    doses = sorted({dose for some in by_arm.values() for dose in some})
    whole = {arm: [some[dose] for dose in doses] for arm, some in by_arm.items() if len(some) == len(doses)}
    meaning = measures.of(next(iter(next(iter(by_arm.values())).values()))).meaning
    return curves(key, name, meaning, doses, whole)


def _sweep(metrics: list[Metric], key: str, measures: Measures) -> dict[str, object]:
    """Show EV and retrieval of every layer pair side by side: one of them alone is misleading."""
    sites = [list(dict.fromkeys(getattr(metric, side) for metric in metrics)) for side in ("src", "dst")]
    models = [some[0].rpartition("@")[0] if some else "" for some in sites]
    rows, columns = ([site.rpartition("@")[2] for site in some] for some in sites)
    grids = []
    for at, number in enumerate(measures.swept(metrics)):
        name = measures.title(number, metrics)
        of_number = [metric for metric in metrics if (metric.scorer, metric.name) == number]
        values = layer_grid(metrics, sites[0], sites[1], number)
        labels = f"layer of {models[0]}", f"layer of {models[1]}"
        meaning = measures.of(of_number[0]).meaning
        plot = heat(f"{key}-{at}", name, meaning, values, (0.0, 1.0), labels, (rows, columns))
        best = max(of_number, key=lambda metric: metric.value)
        grids.append({"name": name, "plot": plot, "values": values.tolist(), "best": best})
    return {"grids": grids, "models": models, "rows": rows, "columns": columns}
