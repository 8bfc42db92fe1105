"""Checks of plugins' declarations and return values."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from bridge.errors import PluginError
from bridge.hookspecs import API
from bridge.metrics import Metric
from bridge.scorers import Measure, Need, Plot, Scorer, Section
from bridge.verbalizers import Explanation, KnownReader

RESERVED = "__metadata__"
"""Reserved name that no array of a safetensors file may have."""


def check_api(declared: object, name: str, distribution: str) -> None:
    """Refuse a plugin that was written for another plugin API than this one.

    Args:
        declared: The `bridge_api` of its module; None, if the module declares none, is accepted.
        name: Name of its entry point.
        distribution: Its distribution.

    Raises:
        PluginError: If the API is newer than the host's, of an older major version, or not a version.
    """
    if declared is None:
        return
    here = f"{API[0]}.{API[1]}"
    parts = re.fullmatch(r"(\d+)\.(\d+)", declared) if isinstance(declared, str) else None
    if not parts:
        raise PluginError(
            f"{name} declares bridge_api = {declared!r}.",
            remedy=f'Use a text such as "{here}": the bridge.hookspecs.API that the plugin was written for.',
        )
    wanted = int(parts[1]), int(parts[2])
    if wanted > API:
        raise PluginError(
            f"{name} was written for plugin API {declared}, but this residual-bridge has {here}.",
            remedy=f"Run `pip install --upgrade residual-bridge`, or install an older {distribution}.",
        )
    if wanted[0] < API[0]:
        raise PluginError(
            f"{name} was written for plugin API {declared}; this residual-bridge no longer has it, but {here}.",
            remedy=f"Run `pip install --upgrade {distribution}`.",
        )


def check_needs(scorer: Scorer, name: str) -> None:
    """Refuse a scorer with invalid needs, because the needs of all scorers are compared before the first one runs.

    Raises:
        PluginError: If the needs are not a frozenset of `Need`.
    """
    needs: Any = getattr(scorer, "needs", None)
    if not isinstance(needs, frozenset) or not all(isinstance(need, Need) for need in needs):
        raise PluginError(
            f"{name} registered the scorer {scorer.name}, whose needs are {needs!r}.",
            remedy="Use a frozenset of bridge.scorers.Need.",
        )


def check_measures(scorer: Scorer, name: str) -> None:
    """Refuse a scorer with invalid measures, because reports and audits read them long after the scorer ran.

    Raises:
        PluginError: If the measures are not a tuple of `Measure`, or a text field is not a text.
    """
    measures: Any = getattr(scorer, "measures", None)
    whole = isinstance(measures, tuple) and all(isinstance(one, Measure) for one in measures)
    for one in measures if whole else ():
        asked = [text for question in one.questions for text in (question.title, question.shows)]
        texts = (one.name, one.meaning, one.unit, one.better, *asked)
        whole = whole and all(isinstance(text, str) for text in texts) and isinstance(one.section, Section)
        whole = whole and isinstance(one.order, int)
    if not whole:
        raise PluginError(
            f"{name} registered the scorer {scorer.name}, whose measures are {measures!r}.",
            remedy="Use a tuple of bridge.scorers.Measure.",
        )


def fault_of_reader(reader: KnownReader) -> str:
    """Say what is wrong with a known reader that a plugin registered; empty where nothing is."""
    texts = (reader.name, reader.model, reader.verbalizer, reader.base, reader.extra, reader.source)
    if not all(isinstance(text, str) and text.isprintable() for text in texts):
        return "a text of it is none, or cannot be printed"
    sites: Any = reader.sites
    if not isinstance(sites, tuple) or not sites or not all(isinstance(site, str) and site for site in sites):
        return "its sites are no tuple of texts, one at least"
    gigabytes: Any = reader.gigabytes
    if not isinstance(gigabytes, int | float) or not 0 <= gigabytes < math.inf:
        return "its size is no number of gigabytes"
    return "" if reader.name and reader.model and reader.verbalizer else "its name, model or verbalizer is empty"


def check_explanations(explanations: Any, count: int, name: str) -> None:
    """Refuse a verbalizer's return value unless it is one explanation per vector.

    Raises:
        PluginError: Naming the verbalizer and its return value.
    """
    if not isinstance(explanations, list) or not all(isinstance(one, Explanation) for one in explanations):
        found = f"a list with {explanations[:1]!r}" if isinstance(explanations, list) else type(explanations).__name__
    elif not all(isinstance(text, str) for one in explanations for text in (one.text, *one.flags)):
        found = "explanations whose text or flags are not texts"
    elif len(explanations) != count:
        found = f"{len(explanations)} explanations"
    else:
        return
    raise PluginError(
        f"The verbalizer {name} returned {found} for {count} vectors.",
        cause="The plugin is broken.",
        remedy="Run bridge.testing.check_verbalizer on it, or choose another verbalizer.",
    )


def check_notes(notes: Any, name: str) -> None:
    """Refuse a verbalizer's notes unless they are a list of texts.

    Raises:
        PluginError: Naming the verbalizer and its return value.
    """
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise PluginError(f"The notes of the verbalizer {name} are {notes!r}, not a list of texts.")


def fault_of_rows(rows: Any, shape: tuple[int, ...]) -> str:
    """Describe the fault of rows that a plugin returned; empty for finite numpy floats of this shape."""
    if not isinstance(rows, np.ndarray):
        return type(rows).__name__ if not hasattr(rows, "device") else f"{type(rows).__name__} on {rows.device}"
    if rows.shape != shape:
        return f"shape {rows.shape}"
    if rows.dtype.kind != "f" or rows.dtype.itemsize < 4:
        return f"dtype {rows.dtype}"
    return "" if np.isfinite(rows).all() else "NaN or infinite values"


def fault_of_metric(metric: Any) -> str:
    """Describe the fault of a metric that a scorer returned; empty if it has none."""
    if not isinstance(metric, Metric) or not math.isfinite(metric.value):
        return f"it returned {metric!r}"
    texts = ("scorer", "name", "arm", "map", "src", "dst", "control", "note")
    wrong = [name for name in texts if not isinstance(getattr(metric, name), str)]
    return f"it returned a metric whose {wrong[0]} is not a text: {getattr(metric, wrong[0])!r}" if wrong else ""


def fault_of_kept(name: Any, array: Any) -> str:
    """Describe the fault of an array that a scorer keeps; empty for finite floats with a valid name."""
    if not isinstance(name, str) or not name.isprintable() or name in ("", RESERVED):
        return f"it kept an array under the name {name!r}"
    wrong = fault_of_rows(array, getattr(array, "shape", ()))
    if not wrong and np.abs(array).max(initial=0) > np.finfo(np.float32).max:
        wrong = "values beyond float32"
    return f"it kept {name} as {wrong}" if wrong else ""


def fault_of_plot(plot: Any) -> str:
    """Describe the fault of a plot that a scorer returned; empty for a figure with a title and a description."""
    from matplotlib.figure import Figure

    if not isinstance(plot, Plot) or not isinstance(plot.figure, Figure):
        return f"it returned {type(getattr(plot, 'figure', plot)).__name__}, not a bridge.scorers.Plot with a Figure"
    for name in ("title", "says", "meaning"):
        text = getattr(plot, name)
        if not isinstance(text, str) or not (text.strip() or name == "meaning"):
            return f"its {name} is {text!r}"
    return ""
