"""The main jobs: fit a bridge, or fit and score it against controls on held-out documents, and write a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bridge.display import notebook
from bridge.metrics import Metric, document
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.fit.fit import fit_plan
from bridge.pipeline.fit.record import BRIDGE_RECORD, METRICS
from bridge.pipeline.jobs.evidence import explain_fit, score_fit
from bridge.pipeline.jobs.folder import claim_folder, write_config, write_folder
from bridge.pipeline.plan.idle import idle_beside_positions, refuse_idle
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.plan.threads import threads_for
from bridge.pipeline.result import Scored, headline
from bridge.pipeline.score.judge import load_judge
from bridge.pipeline.transfer.dictionary_sets import available_dictionaries
from bridge.pipeline.verbalize.both_models import Verbalized
from bridge.pipeline.verbalize.setup import set_up_verbalizers
from bridge.progress import Progress


@final
@dataclass(frozen=True)
class Run(Scored):
    """A scored bridge.

    Attributes:
        bridge: The fitted bridge.
        metrics: Every arm's numbers.
        folder: The folder of the results, or None.
        verbalized: The explanations, if anything is explained.
    """

    bridge: Bridge
    metrics: list[Metric]
    folder: Path | None
    verbalized: Verbalized | None = None

    def __repr__(self) -> str:
        about = self.bridge
        return f"Run({about.src} -> {about.dst}, {about.map}: {headline(self.metrics)})"

    def document(self) -> dict[str, object]:
        """Return the result as a document, as in `metrics.json`.

        Returns:
            `schema`, `bridge` (the provenance) and `metrics`, ready for `json.dump`.
        """
        return document(self.metrics, self.bridge.provenance)

    def _shown(self) -> list[Markup]:
        return notebook.scores(self.metrics)


def run(
    options: Options,
    out: Path | None = None,
    progress: Progress | None = None,
    stdin: IO[str] | None = None,
) -> Run:
    """Fit, explain and score; write each result before the next stage, so that a crash loses no earlier one.

    Args:
        options: The options.
        out: Folder for the results; nothing is written if None.
        progress: Receives every stage.
        stdin: The stream for a corpus `-`.

    Raises:
        BridgeError: As `prepare` and `fit`.
    """
    refuse_idle(options)
    runtime = open_runtime(progress)
    if idle := idle_beside_positions(options):
        runtime.progress.note(idle)
    plan = prepare(options, runtime, stdin)
    if out is not None:
        plan = claim_folder(out, plan)
    dictionaries = available_dictionaries(plan, options.dictionary, runtime)
    own = dictionaries.src if dictionaries else None
    sides = plan.src, plan.dst
    setup = set_up_verbalizers(sides, options.verbalize, options.dictionary, own, runtime.registry)
    # Find these before the fit, so that errors are reported early.
    judge = load_judge(options.score.encoder, plan.of_src.training_texts(), options.run.seed) if setup else None
    with threads_for(max(plan.widths)):
        result = fit_plan(plan, runtime, controls=True, reverse=bool(dictionaries or options.verbalize.positions))
        if dictionaries and dictionaries.src.origin.notes:
            result.bridge.provenance["dictionary_notes"] = list(dictionaries.src.origin.notes)
        if out is not None:
            write_config(out, plan)
            if not (out / BRIDGE_RECORD).exists():  # else earlier results with these options, which stay whole
                write_folder(out, result.bridge)
        explained = explain_fit(plan, result, dictionaries, setup, runtime)
        verbalized = explained.verbalized
        if out is not None and verbalized and not (out / METRICS).exists():
            write_folder(out, result.bridge, None, verbalized)

        def save(metrics: list[Metric], kept: Mapping[str, NDArray[np.floating]]) -> None:
            if out is not None:
                write_folder(out, result.bridge, metrics, verbalized, kept)

        metrics, kept = score_fit(plan, result, dictionaries, explained, judge, runtime, save)
        save(metrics, kept)
    return Run(result.bridge, metrics, out, verbalized)


def fit(
    options: Options, out: Path | None = None, progress: Progress | None = None, stdin: IO[str] | None = None
) -> Bridge:
    """Fit a bridge without scoring it; arguments and errors as for `run`."""
    runtime = open_runtime(progress)
    plan = prepare(options, runtime, stdin)
    if out is not None:
        plan = claim_folder(out, plan)
    bridge = fit_plan(plan, runtime).bridge
    if out is not None:
        write_config(out, plan)
        write_folder(out, bridge)
    return bridge
