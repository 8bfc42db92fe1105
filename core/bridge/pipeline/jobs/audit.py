"""Audit a dictionary of one model in others: arms, decoders, firing, the rotation, and the live model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import IO, Any, final

from markupsafe import Markup

from bridge.corpus.documents import Corpus
from bridge.display import notebook
from bridge.errors import UsageError
from bridge.metrics import Metric, document
from bridge.pipeline.fit.fit import fit_rows
from bridge.pipeline.jobs.evidence import audit_evidence
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import Plan, prepare
from bridge.pipeline.plan.provenance import describe
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.plan.self_check import load_checked, with_untrained
from bridge.pipeline.plan.threads import threads_for
from bridge.pipeline.result import Scored, headline
from bridge.pipeline.score.live_model import LiveDocuments, RunningModel
from bridge.pipeline.score.score import score_evidence
from bridge.pipeline.transfer.dictionaries import shipped
from bridge.pipeline.transfer.dictionary_sets import Dictionaries, open_dictionaries
from bridge.progress import Progress
from bridge.references import Site, expand_references, parse_reference, parse_sites
from bridge.scorers import Need, Scorer

ALL = "all"
BASICS = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})


@final
@dataclass(frozen=True)
class Audit(Scored):
    """The scores of one source's dictionaries in every target, at every site.

    Attributes:
        metrics: Every arm's numbers; `src` and `dst` name target and site.
        provenance: One record for each pair of sites.
    """

    metrics: list[Metric]
    provenance: list[dict[str, Any]]

    def __repr__(self) -> str:
        return f"Audit({len(self.provenance)} pairs of sites: {headline(self.metrics)})"

    def document(self) -> dict[str, object]:
        """Return the result as a document, as `bridge audit --out` writes it.

        Returns:
            `schema`, `bridge` (a record for each pair of sites) and `metrics`, ready for `json.dump`.
        """
        return document(self.metrics, {"pairs": self.provenance})

    def _shown(self) -> list[Markup]:
        return notebook.answers(self.metrics)


def audit(
    options: Options,
    sites: str = "",
    given: Dictionaries | None = None,
    progress: Progress | None = None,
    stdin: IO[str] | None = None,
) -> Audit:
    """Audit one source against one or many targets at one or many sites.

    Args:
        options: Options; `dst` may name several targets, as `dyck:seed1..4`.
        sites: Sites of both models (`3,6,9`), `all` for every site with a dictionary in the source's folder, or empty
            for the sites of the references.
        given: Dictionaries to use instead of those in the checkpoints' folders; for one pair of sites.
        progress: Receives every stage.
        stdin: The stream for a corpus `-`.

    Raises:
        UsageError: If there is no dictionary, or the numbers of sites differ.
        BridgeError: As `prepare`, or if a dictionary does not belong to its site.
    """
    runtime = open_runtime(progress)
    given = given or Dictionaries()
    metrics: list[Metric] = []
    provenance: list[dict[str, Any]] = []
    corpus: Corpus | None = None
    for target in expand_references(options.models.dst):
        pair = options.updated(dst=target)
        if sites:
            pair = _at_sites(pair, sites, runtime)
        plan = prepare(pair, runtime, stdin, corpus)
        # Variants of one model share the family and therefore the corpus.
        corpus = plan.corpus
        with threads_for(max(plan.widths)):
            found, described = _audit_target(plan, given, runtime)
        metrics += found
        provenance += described
    return Audit(metrics, provenance)


def _at_sites(options: Options, sites: str, runtime: Runtime) -> Options:
    there = ",".join(shipped(runtime.resolve(options.models.src))) if sites == ALL else sites
    if not there:
        raise UsageError(
            f"{options.models.src} has no dictionaries in its folder, so `all` matches no site.",
            remedy="Name the sites (--sites 3,6,9), or give --dictionary and one layer.",
        )
    update = {side: str(replace(parse_reference(getattr(options.models, side)), site=there)) for side in ("src", "dst")}
    return options.updated(**update)


def _audit_target(plan: Plan, given: Dictionaries, runtime: Runtime) -> tuple[list[Metric], list[dict[str, Any]]]:
    pairs = _site_pairs(plan, given)
    opened = [open_dictionaries(plan, src, dst, given, runtime) for src, dst in pairs]
    left, right = gather(plan, {"src": [src for src, _ in pairs], "dst": [dst for _, dst in pairs]}, runtime)
    documents = _live_documents(plan, runtime)
    metrics: list[Metric] = []
    provenance = []
    scorers = [scorer for scorer in runtime.registry.scorers.values() if _looks_closer(scorer)]
    with runtime.progress.stage(f"audit {plan.dst.model.name}", len(opened) * len(scorers), "scorers") as advance:
        for (src, dst), dictionaries in zip(pairs, opened, strict=True):
            rows = paired_rows(plan, left[src], right[dst])
            result = fit_rows(plan, rows, src, dst, controls=True, reverse=True)
            live = RunningModel(documents, dst) if documents else None
            evidence = audit_evidence(result, plan.options.run.seed, dictionaries, live, runtime)
            wanted = [scorer for scorer in scorers if scorer.needs <= evidence.available]
            found, failed = score_evidence(evidence, wanted, runtime.progress, advance)
            advance(len(scorers) - len(wanted))
            metrics += found
            notes = list(dictionaries.src.origin.notes)
            provenance.append(
                with_untrained(describe(plan, rows, src, dst), (plan.src, plan.dst), plan.options.models, runtime)
                | ({"failed_scorers": failed} if failed else {})
                | ({"dictionary_notes": notes} if notes else {})
            )
    return metrics, provenance


def _live_documents(plan: Plan, runtime: Runtime) -> LiveDocuments | None:
    """Load the destination and cut held-out texts for it; None for an encoder, which has no loss."""
    model, options = plan.dst.model, plan.options
    if not model.info.causal:
        runtime.progress.note(
            f"{model.name} predicts no next token, so the loss with a reconstruction is not measured."
        )
        return None
    live = load_checked(plan.dst, options.models, runtime)
    return LiveDocuments(live, plan.corpus, plan.folds, options.corpus.max_tokens, options.run.seed)


def _site_pairs(plan: Plan, given: Dictionaries) -> list[tuple[Site, Site]]:
    """Return the pairs in the given order: the first site of the source with the first site of the destination, etc."""
    sides, named = (plan.src.model, plan.dst.model), given.src or given.dst
    src, dst = ([parse_sites(part, side.info.n_layers)[0] for part in side.site.split(",")] for side in sides)
    if len(src) != len(dst) or (named and len(src) > 1):
        raise UsageError(
            f"{len(src)} sites of the source do not match {len(dst)} of the destination"
            f"{' and the dictionaries given' if named else ''}.",
            remedy="Give the same number of sites for both models; with --dictionary exactly one.",
        )
    return list(zip(src, dst, strict=True))


def _looks_closer(scorer: Scorer) -> bool:
    """Select scorers with audit questions and scorers that need more than rows and a map; `run` uses the others."""
    return any(measure.questions for measure in scorer.measures) or not scorer.needs <= BASICS
