"""Scores of every layer pair of two models, each collected once, on validation documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from markupsafe import Markup

from bridge.display import notebook
from bridge.errors import PluginError, UsageError
from bridge.metrics import Metric, document
from bridge.pipeline.fit.fit import fit_rows
from bridge.pipeline.fit.record import SWEEP_CONFIG
from bridge.pipeline.jobs.evidence import evidence_of
from bridge.pipeline.jobs.folder import claim_folder, write_config
from bridge.pipeline.plan.elsewhere import DistantPlan, pool_of, work_of
from bridge.pipeline.plan.gather import artifacts_of, gather, paired_rows
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import Plan, prepare
from bridge.pipeline.plan.provenance import said, versions
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.plan.self_check import with_untrained
from bridge.pipeline.plan.threads import threads_for
from bridge.pipeline.result import MOST, Scored
from bridge.pipeline.score.score import checked_scores
from bridge.plugins.registry import Registry
from bridge.progress import Progress
from bridge.references import Site
from bridge.scorers import MAPPED, Need, Scorer

VALIDATION_FOLD = 0


@final
@dataclass(frozen=True)
class Sweep(Scored):
    """The scores of every layer pair.

    Attributes:
        metrics: One record for each scorer's metric and layer pair, arm `mapped`.
        src_sites: Source references, layer included, in order.
        dst_sites: Destination references, layer included, in order.
        provenance: Options, corpus and versions.
    """

    metrics: list[Metric]
    src_sites: list[str]
    dst_sites: list[str]
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        layers = f"{len(self.src_sites)} x {len(self.dst_sites)} layers"
        tops = [self.best(name) for name in dict.fromkeys(metric.name for metric in self.metrics)]
        best = "; ".join(f"best {top.name} {top.value:.3f} at {top.src} -> {top.dst}" for top in tops[:MOST])
        return f"Sweep({layers}: {best or 'no metrics'})"

    def document(self) -> dict[str, object]:
        """Return the result as a document, as in `metrics.json`.

        Returns:
            `schema`, `bridge` (the provenance) and `metrics`, ready for `json.dump`.
        """
        return document(self.metrics, self.provenance)

    def _shown(self) -> list[Markup]:
        return notebook.layers(self.metrics, self.src_sites, self.dst_sites, self.best)

    def best(self, name: str, scorer: str = "") -> Metric:
        """Return the layer pair with the highest value of one metric.

        Args:
            name: Name of the metric, as `ev` or `retrieval@1`.
            scorer: Name of the scorer, if several scorers have a metric of this name; default: any.

        Returns:
            The metric, whose `src` and `dst` are the pair.

        Raises:
            UsageError: If the sweep has no such metric.
        """
        found = [metric for metric in self.metrics if metric.name == name and scorer in ("", metric.scorer)]
        if not found:
            known = ", ".join(dict.fromkeys(metric.name for metric in self.metrics))
            raise UsageError(f"This sweep has no metric {name}.", remedy=f"It has {known or 'none'}.")
        return max(found, key=lambda metric: metric.value)


def sweep(
    options: Options, progress: Progress | None = None, stdin: IO[str] | None = None, out: Path | None = None
) -> Sweep:
    """Fit and score a map for every pair of the layers that `src` and `dst` name (`@*`, `@3,6,9`, `@0-29:3`).

    Scores are on fold 0 of the training documents. The held-out documents are not used, so that `bridge run` can test
    the chosen pair on them.

    Args:
        options: The options.
        progress: Receives every stage.
        stdin: The stream for a corpus `-`.
        out: Folder for `sweep.toml`, which repeats the sweep; nothing is written if None.

    Raises:
        BridgeError: As `prepare` and `claim_folder`.
    """
    if options.corpus.folds < 3:
        raise UsageError("A sweep needs at least 3 folds: one for validation, two for choosing a penalty.")
    runtime = open_runtime(progress)
    if not swept_scorers(runtime.registry):
        raise UsageError("No installed scorer compares layers.", remedy="Enable one: `bridge plugins` lists them.")
    plan = prepare(options, runtime, stdin)
    if out is not None:
        plan = claim_folder(out, plan, SWEEP_CONFIG)
    sites = plan.src.model.all_sites(), plan.dst.model.all_sites()
    left, right = gather(plan, {"src": sites[0], "dst": sites[1]}, runtime)
    pairs = [(src, dst) for src in sites[0] for dst in sites[1] if left[src].path != right[dst].path]
    found = _score_pairs(plan, pairs, runtime)
    metrics = [metric for one in found for metric in one.metrics]
    # The first failure of a scorer is told.
    failed = {name: what for one in reversed(found) for name, what in one.failed.items()}
    if failed and not metrics:
        raise PluginError(f"Every scorer failed: {'; '.join(f'{name}: {what}' for name, what in failed.items())}.")
    for name, what in failed.items():
        runtime.progress.note(f"The scorer {name} failed; its scores are missing: {what}")
    provenance = (
        {
            "corpus": {"name": plan.options.corpus.source, "sha256": plan.corpus.identity},
            "options": plan.options.flat(),
            "split": "scores are on validation documents (training fold 0); held-out documents were not used",
            "versions": versions(),
        }
        | said(plan.remarks)
        | ({"failed_scorers": failed} if failed else {})
    )
    provenance = with_untrained(provenance, (plan.src, plan.dst), plan.options.models, runtime)
    if out is not None:
        write_config(out, plan, SWEEP_CONFIG)
    labels = [[side.model.label(s) for s in some] for side, some in zip((plan.src, plan.dst), sites, strict=True)]
    return Sweep(metrics, labels[0], labels[1], provenance)


def swept_scorers(registry: Registry) -> list[Scorer]:
    """Return the scorers with a number for comparing layers, if a sweep meets all of their needs."""
    swept = [one for one in registry.scorers.values() if any(measure.swept for measure in one.measures)]
    return [scorer for scorer in swept if scorer.needs <= {Need.HELD_OUT_PAIRS, Need.MAP}]


@final
@dataclass(frozen=True)
class Scores:
    """The scores of one layer pair.

    Attributes:
        metrics: The metrics.
        failed: By name of a scorer that failed, what happened.
    """

    metrics: list[Metric]
    failed: dict[str, str]


@final
@dataclass(frozen=True)
class DistantPairs:
    """Opens a worker of a sweep in another process."""

    plan: DistantPlan

    def __call__(self) -> AbstractContextManager[Callable[[tuple[Site, Site]], Scores]]:
        """Return the function that scores a layer pair."""
        return _scoring(*self.plan.open())


def _score_pairs(plan: Plan, pairs: Sequence[tuple[Site, Site]], runtime: Runtime) -> list[Scores]:
    models, found = plan.options.models, dict[int, Scores]()
    elsewhere = DistantPairs(DistantPlan.of(plan, runtime))
    work = work_of("sweep", lambda: _scoring(plan, runtime), elsewhere, models, runtime)
    with (
        pool_of(work, models, runtime) as pool,
        runtime.progress.stage("sweep", len(pairs), "pairs") as advance,
    ):
        for index, scores in pool.run(pairs):
            found[index] = scores
            advance()
    return [found[index] for index in range(len(pairs))]


def _scoring(plan: Plan, runtime: Runtime) -> AbstractContextManager[Callable[[tuple[Site, Site]], Scores]]:
    return nullcontext(lambda pair: _score_pair(plan, pair, runtime))


def _score_pair(plan: Plan, pair: tuple[Site, Site], runtime: Runtime) -> Scores:
    src, dst = pair
    left, right = artifacts_of(plan.of_src, [src], runtime), artifacts_of(plan.of_dst, [dst], runtime)
    others = [fold for fold in plan.training_folds if fold != VALIDATION_FOLD]
    scores = Scores([], {})
    with threads_for(max(plan.widths)):
        result = fit_rows(plan, paired_rows(plan, left[src], right[dst]), src, dst, folds=others)
        evidence = evidence_of(result, {MAPPED: result.bridge.fitted}, {}, plan.options.run.seed, fold=VALIDATION_FOLD)
        for scorer in swept_scorers(runtime.registry):
            metrics, error = checked_scores(scorer, evidence)
            if error:
                scores.failed[scorer.name] = f"on {evidence.src} -> {evidence.dst}: {error}"
            scores.metrics.extend(metrics)
    return scores
