"""Run scorers on evidence, and check their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bridge.errors import PluginError, StoreError
from bridge.metrics import Metric
from bridge.plugins.checks import fault_of_kept, fault_of_metric
from bridge.plugins.isolation import described
from bridge.progress import Progress
from bridge.scorers import Evidence, Scorer

Before = Callable[[Scorer, list[Metric], Mapping[str, str]], None]


def score_evidence(
    evidence: Evidence,
    scorers: Sequence[Scorer],
    progress: Progress,
    advance: Callable[[int], None],
    before: Before = lambda *_: None,
) -> tuple[list[Metric], dict[str, str]]:
    """Run some scorers; return their metrics, and the errors by the name of the scorer.

    Args:
        evidence: The inputs of all scorers.
        scorers: The scorers, in their order.
        progress: Receives a note for each scorer that fails.
        advance: Called after each scorer.
        before: Called before each scorer with the scorer, and the metrics and errors so far.

    Raises:
        PluginError: If every scorer failed.
        StoreError: If stored activations are damaged.
    """
    metrics: list[Metric] = []
    failed: dict[str, str] = {}
    for scorer in scorers:
        before(scorer, metrics, failed)
        found, error = checked_scores(scorer, evidence)
        metrics += found
        if error:
            failed[scorer.name] = error
            progress.note(f"The scorer {scorer.name} failed; its scores are missing: {error}")
        advance(1)
    if failed and not metrics:
        raise PluginError(f"Every scorer failed: {'; '.join(f'{name}: {what}' for name, what in failed.items())}.")
    return metrics, failed


def checked_scores(scorer: Scorer, evidence: Evidence) -> tuple[list[Metric], str]:
    """Run one scorer; return its metrics and an empty string, or no metrics and the error.

    Errors of a scorer are returned, so that a broken plugin does not lose the fitted map.

    Raises:
        StoreError: If stored activations are damaged, which the scorer does not cause.
    """
    kept: dict[str, NDArray[np.floating]] = {}
    try:
        metrics = list(scorer.score(replace(evidence, keep=kept.__setitem__)))
        for wrong in (*map(fault_of_metric, metrics), *map(fault_of_kept, kept, kept.values())):
            if wrong:
                return [], wrong
        for name, array in kept.items():
            evidence.keep(name, array)
    except StoreError:
        raise
    except PluginError as error:
        return [], error.what
    except Exception as error:
        return [], described(error)
    return metrics, ""
