"""The main jobs: fit a bridge, or fit and score it against its controls on held-out documents; leave a folder."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

from bridge.errors import BridgeError
from bridge.metrics import Metric, document
from bridge.pipeline.bridge import Bridge
from bridge.pipeline.fit import Fit, fit_arms, fit_plan
from bridge.pipeline.folder import claim_folder, write_folder
from bridge.pipeline.options import Options
from bridge.pipeline.pairs import StoredPairs
from bridge.pipeline.prepare import prepare
from bridge.pipeline.workbench import Workbench, open_workbench
from bridge.progress import Progress
from bridge.scorers import Evidence, Need, Scorer
from bridge.split import HELD_OUT


@final
@dataclass(frozen=True)
class Run:
    """A scored bridge.

    Attributes:
        bridge: The fitted bridge.
        metrics: Every arm's numbers.
        folder: Where everything was written, or None.
    """

    bridge: Bridge
    metrics: list[Metric]
    folder: Path | None

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
    result = fit_plan(plan, bench)
    metrics = score(result, bench)
    if out is not None:
        write_folder(out, plan, result.bridge, metrics)
    return Run(result.bridge, metrics, out)


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


def score(result: Fit, bench: Workbench) -> list[Metric]:
    """Run every scorer whose needs are met on the held-out documents."""
    options = result.plan.options
    arms = fit_arms(options.build_map(bench.registry), result.bridge.fitted, result, list(range(options.folds)), bench)
    evidence = Evidence(
        result.bridge.src,
        result.bridge.dst,
        result.bridge.map,
        arms,
        StoredPairs(result.rows, HELD_OUT, result.training),
        options.seed,
    )
    at_hand = {Need.HELD_OUT_PAIRS, Need.MAP}
    scorers = [scorer for scorer in bench.registry.scorers.values() if scorer.needs <= at_hand]
    metrics: list[Metric] = []
    with bench.progress.stage("score", len(scorers), "scorers") as advance:
        for scorer in scorers:
            metrics += checked_scores(scorer, evidence, bench)
            advance()
    return metrics


def checked_scores(scorer: Scorer, evidence: Evidence, bench: Workbench) -> list[Metric]:
    """Run one scorer; one that breaks or returns nonsense is named and left out, and costs nothing else."""
    try:
        metrics = list(scorer.score(evidence))
        for metric in metrics:
            if not isinstance(metric, Metric) or not math.isfinite(metric.value):
                raise BridgeError(f"it returned {metric!r}")
    except Exception as error:  # whatever a plugin does wrong must not cost the user the fitted map
        bench.progress.note(f"The scorer {scorer.name} failed and is left out: {type(error).__name__}: {error}")
        return []
    return metrics
