"""Every layer of one model against every layer of another, both collected once, scored on validation documents."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, final

from bridge.metrics import Metric, document
from bridge.pipeline.fit import checked_fit, versions
from bridge.pipeline.folder import SWEEP_CONFIG, claim_folder, write_config
from bridge.pipeline.options import Options
from bridge.pipeline.pairs import StoredPairs, training_data
from bridge.pipeline.prepare import gather, paired_rows, prepare
from bridge.pipeline.run import checked_scores
from bridge.pipeline.workbench import open_workbench
from bridge.progress import Progress
from bridge.scorers import MAPPED, Evidence

VALIDATION_FOLD = 0


@final
@dataclass(frozen=True)
class Sweep:
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

    def document(self) -> dict[str, object]:
        """Return the result in its one shape."""
        return document(self.metrics, self.provenance)

    def best(self, name: str) -> Metric:
        """Return the layer pair with the highest value of one metric."""
        return max((metric for metric in self.metrics if metric.name == name), key=lambda metric: metric.value)


def sweep(
    options: Options, progress: Progress | None = None, stdin: IO[str] | None = None, out: Path | None = None
) -> Sweep:
    """Fit and score a map for every pair of the layers that `src` and `dst` name (`@*`, `@3,6,9`, `@0-29:3`).

    Fold 0 of the training documents validates; the held-out documents are not looked at, so that the pair chosen here
    can be tested on them by `bridge run`.

    Args:
        options: What to do.
        progress: Is told of every stage.
        stdin: Where a corpus `-` comes from.
        out: Folder for `sweep.toml`, which runs the same again; nothing is written if None.

    Raises:
        BridgeError: As `prepare` and `claim_folder`.
    """
    bench = open_workbench(progress)
    plan = prepare(options, bench, stdin)
    if out is not None:
        plan = claim_folder(out, plan, SWEEP_CONFIG)
    kind = options.build_map(bench.registry)
    src_sites, dst_sites = plan.src.model.all_sites(), plan.dst.model.all_sites()
    left, right = gather(plan, {"src": src_sites, "dst": dst_sites}, bench)
    widths = plan.src.model.info.d_model, plan.dst.model.info.d_model
    scorers = [
        bench.registry.scorers[name] for name in ("explained_variance", "retrieval") if name in bench.registry.scorers
    ]
    others = [fold for fold in range(options.folds) if fold != VALIDATION_FOLD]
    metrics: list[Metric] = []
    with bench.progress.stage("sweep", len(src_sites) * len(dst_sites), "pairs") as advance:
        for src in src_sites:
            for dst in dst_sites:
                rows = paired_rows(plan, left[src], right[dst])
                training = training_data(rows, *widths, others)
                evidence = Evidence(
                    plan.src.model.label(src),
                    plan.dst.model.label(dst),
                    kind.name,
                    {MAPPED: checked_fit(kind, training)},
                    StoredPairs(rows, VALIDATION_FOLD, training),
                    options.seed,
                )
                for scorer in scorers:
                    metrics += checked_scores(scorer, evidence, bench)
                advance()
    provenance = {
        "corpus": {"name": plan.options.corpus, "sha256": plan.corpus.identity},
        "options": plan.options.model_dump(),
        "split": "scores are on validation documents (training fold 0); held-out documents were not used",
        "versions": versions(),
    }
    if out is not None:
        write_config(out, plan, SWEEP_CONFIG)
    src_labels = [plan.src.model.label(site) for site in src_sites]
    return Sweep(metrics, src_labels, [plan.dst.model.label(site) for site in dst_sites], provenance)
