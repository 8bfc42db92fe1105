"""The main jobs: fit a bridge, or fit and score it against its controls on held-out documents; leave a folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, final

import numpy as np
from numpy.typing import NDArray

from bridge.containment import fault_of_kept, fault_of_metric
from bridge.errors import PluginError, StoreError
from bridge.metrics import Metric, document
from bridge.pipeline.audit_dictionaries import Opened, dictionaries_at_hand
from bridge.pipeline.bridge import Bridge
from bridge.pipeline.fit import Fit, fit_arms, fit_back, fit_plan
from bridge.pipeline.folder import claim_folder, write_explanations, write_folder, write_kept
from bridge.pipeline.options import Options
from bridge.pipeline.pairs import StoredPairs
from bridge.pipeline.prepare import prepare
from bridge.pipeline.threads import threads_for
from bridge.pipeline.tools import Tools, find_tools
from bridge.pipeline.verbalize import Verbalized, verbalize
from bridge.pipeline.workbench import Workbench, open_workbench
from bridge.progress import Progress
from bridge.scorers import Evidence, Scorer
from bridge.split import HELD_OUT


@final
@dataclass(frozen=True)
class Run:
    """A scored bridge.

    Attributes:
        bridge: The fitted bridge.
        metrics: Every arm's numbers.
        folder: Where everything was written, or None.
        verbalized: The explanations, where there is something to explain.
    """

    bridge: Bridge
    metrics: list[Metric]
    folder: Path | None
    verbalized: Verbalized | None = None

    def document(self) -> dict[str, object]:
        """Return the result in its one shape, as in `metrics.json`."""
        return document(self.metrics, self.bridge.provenance)


def run(
    options: Options,
    out: Path | None = None,
    progress: Progress | None = None,
    stdin: IO[str] | None = None,
) -> Run:
    """Fit, score and write.

    Args:
        options: What to do.
        out: Where to write; nothing is written if None.
        progress: Is told of every stage.
        stdin: Where a corpus `-` comes from.

    Raises:
        BridgeError: As `prepare` and `fit`.
    """
    bench = open_workbench(progress)
    plan = prepare(options, bench, stdin)
    if out is not None:
        plan = claim_folder(out, plan)
    dictionaries = dictionaries_at_hand(plan, bench)
    tools = find_tools(plan, dictionaries.src if dictionaries else None, bench)
    with threads_for(max(plan.widths)):
        result = fit_plan(plan, bench, controls=True, way_back=bool(dictionaries or options.positions))
        metrics, verbalized, kept = score(result, dictionaries, tools, bench)
    if out is not None:
        if verbalized:
            write_explanations(out, verbalized)
        write_kept(out, kept)
        write_folder(out, plan, result.bridge, metrics)
    return Run(result.bridge, metrics, out, verbalized)


def fit(
    options: Options, out: Path | None = None, progress: Progress | None = None, stdin: IO[str] | None = None
) -> Bridge:
    """Fit a bridge without scoring it; arguments and errors as for `run`."""
    bench = open_workbench(progress)
    plan = prepare(options, bench, stdin)
    if out is not None:
        plan = claim_folder(out, plan)
    bridge = fit_plan(plan, bench).bridge
    if out is not None:
        write_folder(out, plan, bridge, None)
    return bridge


def score(
    result: Fit, dictionaries: Opened | None, tools: Tools | None, bench: Workbench
) -> tuple[list[Metric], Verbalized | None, dict[str, NDArray[np.floating]]]:
    """Explain what is to be explained, and run every scorer whose needs are met on held-out documents.

    A scorer that fails is named in the bridge's provenance, under `failed_scorers`.

    Args:
        result: The fitted bridge.
        dictionaries: Of the two models; None where the source has none.
        tools: Dictionary and verbalizers; None where nothing is explained.
        bench: Plugins and progress.

    Returns:
        The metrics, what was explained, and the arrays that scorers keep.

    Raises:
        PluginError: If every scorer failed.
        StoreError: If stored activations are damaged.
    """
    arms, options = fit_arms(result, bench), result.plan.options
    back = fit_back(result, arms, bench) if dictionaries or options.positions else {}
    verbalized = verbalize(result, arms, back, tools, bench) if tools else None
    features = verbalized.features if verbalized else None
    kept: dict[str, NDArray[np.floating]] = {}

    def keep(name: str, array: NDArray[np.floating]) -> None:
        """Keep an array, unless another scorer took its name."""
        if name in kept:
            raise PluginError(f"Another scorer has kept an array {name}.")
        kept[name] = array

    evidence = Evidence(
        result.bridge.src,
        result.bridge.dst,
        result.bridge.map,
        arms,
        StoredPairs(result.rows, HELD_OUT, result.training),
        options.seed,
        back,
        dictionaries.src if dictionaries else None,
        dictionaries.dst if dictionaries else None,
        dictionaries.twins if dictionaries else {},
        explained=features.explained if features else {},
        readings=verbalized.readings if verbalized else None,
        judge=tools.judge if tools else None,
        keep=keep,
    )
    scorers = [scorer for scorer in bench.registry.scorers.values() if scorer.needs <= evidence.at_hand]
    with bench.progress.stage("score", len(scorers), "scorers") as advance:
        metrics, failed = score_evidence(evidence, scorers, bench, advance)
    if failed:
        result.bridge.provenance["failed_scorers"] = failed
    if verbalized:
        result.bridge.provenance["verbalized"] = verbalized.provenance
    return metrics, verbalized, kept


def score_evidence(
    evidence: Evidence, scorers: Sequence[Scorer], bench: Workbench, advance: Callable[[int], None]
) -> tuple[list[Metric], dict[str, str]]:
    """Run some scorers; return their metrics, and what went wrong by the name of the scorer.

    Raises:
        PluginError: If every scorer failed.
        StoreError: If stored activations are damaged.
    """
    metrics: list[Metric] = []
    failed: dict[str, str] = {}
    for scorer in scorers:
        found, error = checked_scores(scorer, evidence)
        metrics += found
        if error:
            failed[scorer.name] = error
            bench.progress.note(f"The scorer {scorer.name} failed and is left out: {error}")
        advance(1)
    if failed and not metrics:
        raise PluginError(f"Every scorer failed: {'; '.join(f'{name}: {what}' for name, what in failed.items())}.")
    return metrics, failed


def checked_scores(scorer: Scorer, evidence: Evidence) -> tuple[list[Metric], str]:
    """Run one scorer; return its metrics, or none and what went wrong: a broken plugin must not cost the fitted map.

    Raises:
        StoreError: If stored activations are damaged, which is no fault of the scorer's.
    """
    kept: dict[str, NDArray[np.floating]] = {}
    try:
        metrics = list(scorer.score(replace(evidence, keep=kept.__setitem__)))
        for wrong in (*map(fault_of_metric, metrics), *map(fault_of_kept, kept, kept.values())):
            if wrong:
                return [], wrong
        for name, array in kept.items():
            evidence.keep(name, array)
    except (StoreError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        return [], f"{type(error).__name__}: {error}"
    return metrics, ""
