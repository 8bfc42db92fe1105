"""Does a dictionary of one model work in others? Four arms, decoders, firing, the rotation, and the live model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import IO, Any, final

from bridge.dictionaries import Dictionary, ReLU, SparseAutoencoder, initial_directions
from bridge.errors import UsageError
from bridge.metrics import Metric, document
from bridge.models import LoadedModel
from bridge.pipeline.dictionaries import check_belongs, open_dictionary, shipped
from bridge.pipeline.fit import describe, fit_arms, fit_back, fit_rows
from bridge.pipeline.live import RunningModel
from bridge.pipeline.options import Options
from bridge.pipeline.pairs import StoredPairs
from bridge.pipeline.prepare import Plan, Side, gather, paired_rows, prepare
from bridge.pipeline.run import score_evidence
from bridge.pipeline.workbench import Workbench, open_workbench
from bridge.progress import Progress
from bridge.references import Site, expand_references, parse_reference, parse_sites
from bridge.scorers import Evidence, Need, Scorer
from bridge.split import HELD_OUT

ALL = "all"
BASICS = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})


@final
@dataclass(frozen=True)
class Audit:
    """The scores of one source's dictionaries in every target, at every site.

    Attributes:
        metrics: Every arm's numbers; `src` and `dst` tell target and site.
        provenance: One record for each pair of sites.
    """

    metrics: list[Metric]
    provenance: list[dict[str, Any]]

    def document(self) -> dict[str, object]:
        """Return the result in its one shape."""
        return document(self.metrics, {"pairs": self.provenance})


@final
@dataclass(frozen=True)
class Dictionaries:
    """Where the audit finds dictionaries: given by the user for one pair of sites, or in the checkpoints' own folders.

    Attributes:
        src: Reference of the source's dictionary, or empty.
        dst: Reference of the destination's own dictionary, or empty.
    """

    src: str = ""
    dst: str = ""


def audit(
    options: Options,
    sites: str = "",
    given: Dictionaries | None = None,
    progress: Progress | None = None,
    stdin: IO[str] | None = None,
) -> Audit:
    """Audit one source against one or many targets at one or many sites.

    Args:
        options: What to do; `dst` may name many targets, as `dyck:seed1..4`.
        sites: Sites of both models (`3,6,9`), `all` for every site that the source's folder has a dictionary of, or
            empty for those of the references.
        given: Dictionaries to use instead of those in the checkpoints' folders; for one pair of sites.
        progress: Is told of every stage.
        stdin: Where a corpus `-` comes from.

    Raises:
        UsageError: If there is no dictionary, or the sites of the models do not match up.
        BridgeError: As `prepare`, or if a dictionary does not belong to its site.
    """
    bench = open_workbench(progress)
    given = given or Dictionaries()
    metrics: list[Metric] = []
    provenance: list[dict[str, Any]] = []
    for target in expand_references(options.dst):
        pair = options.model_copy(update={"dst": target})
        if sites:
            pair = _at_sites(pair, sites, bench)
        plan = prepare(pair, bench, stdin)
        found, said = _audit_target(plan, given, bench)
        metrics += found
        provenance += said
    return Audit(metrics, provenance)


def _at_sites(options: Options, sites: str, bench: Workbench) -> Options:
    there = ",".join(shipped(bench.resolve(options.src))) if sites == ALL else sites
    if not there:
        raise UsageError(
            f"{options.src} has no dictionaries in its folder, so `all` names no site.",
            remedy="Name the sites (--sites 3,6,9), or give --dictionary and one layer.",
        )
    update = {side: str(replace(parse_reference(getattr(options, side)), site=there)) for side in ("src", "dst")}
    return options.model_copy(update=update)


def _audit_target(plan: Plan, given: Dictionaries, bench: Workbench) -> tuple[list[Metric], list[dict[str, Any]]]:
    sides = plan.src, plan.dst
    # In the order in which they were written, because the first of one model belongs to the first of the other.
    sites = [[parse_sites(part, s.model.info.n_layers)[0] for part in s.model.site.split(",")] for s in sides]
    if len(sites[0]) != len(sites[1]) or (given != Dictionaries() and len(sites[0]) > 1):
        raise UsageError(
            f"{len(sites[0])} sites of the source do not go with {len(sites[1])} of the destination"
            f"{' and the dictionaries given' if given != Dictionaries() else ''}.",
            remedy="Give as many sites of one model as of the other; with --dictionary exactly one.",
        )
    opened = [_open(plan, src, dst, given, bench) for src, dst in zip(*sites, strict=True)]
    left, right = gather(plan, {"src": sites[0], "dst": sites[1]}, bench)
    live = plan.dst.model.adapter.load(plan.dst.model.weights, plan.options.placement())
    metrics: list[Metric] = []
    provenance = []
    scorers = [scorer for scorer in bench.registry.scorers.values() if _looks_closer(scorer)]
    with bench.progress.stage(f"audit {plan.dst.model.name}", len(opened) * len(scorers), "scorers") as advance:
        for src, dst, dictionaries in zip(*sites, opened, strict=True):
            evidence, record = _evidence(plan, src, dst, (left, right), dictionaries, live, bench)
            wanted = [scorer for scorer in scorers if scorer.needs <= evidence.at_hand]
            found, failed = score_evidence(evidence, wanted, bench, advance)
            advance(len(scorers) - len(wanted))
            metrics += found
            provenance.append(record | ({"failed_scorers": failed} if failed else {}))
    return metrics, provenance


def _looks_closer(scorer: Scorer) -> bool:
    """Choose explained variance, and what asks for more than rows and a map: `bridge run` shows the others."""
    return scorer.name == "explained_variance" or not scorer.needs <= BASICS


def _open(
    plan: Plan, src: Site, dst: Site, given: Dictionaries, bench: Workbench
) -> tuple[Dictionary, Dictionary | None, dict[str, Dictionary]]:
    """Open the source's dictionary, the destination's own one, and the controls for matching decoders."""
    own = _dictionaries(plan.src, src, given.src, bench)
    theirs = _dictionaries(plan.dst, dst, given.dst, bench)
    if not own:
        raise UsageError(
            f"There is no dictionary of {plan.src.model.label(src)}.",
            cause="None was given, and the checkpoint's folder has none for this site.",
            remedy="Give one with --dictionary, or train one with tools/train_sae.py.",
        )
    first = next(iter(own.values()))
    twins: dict[str, Dictionary] = {}
    seed = first.origin.init_seed
    for name, other in list(theirs.items())[1:]:
        same = seed is not None and other.origin.init_seed == seed
        twins[f"{'same_init' if same else 'other'}:{name}"] = other
    if seed is not None:
        features, d_model = first.directions.shape
        twins["own_untrained_init"] = _untrained(d_model, features, seed)
    return first, next(iter(theirs.values()), None), twins


def _dictionaries(side: Side, site: Site, given: str, bench: Workbench) -> dict[str, Dictionary]:
    paths: Mapping[str, Any] = {given: given} if given else shipped(side.model).get(str(site), {})
    return {
        name: check_belongs(open_dictionary(str(path), bench.registry), side.model, site)
        for name, path in paths.items()
    }


def _untrained(d_model: int, features: int, seed: int) -> Dictionary:
    import numpy as np

    directions = initial_directions(d_model, features, seed)
    zeros = np.zeros(features, np.float32), np.zeros(d_model, np.float32)
    return SparseAutoencoder(directions.T.copy(), zeros[0], directions, zeros[1], ReLU())


def _evidence(
    plan: Plan,
    src: Site,
    dst: Site,
    gathered: tuple[Mapping[Site, Any], Mapping[Site, Any]],
    dictionaries: tuple[Dictionary, Dictionary | None, dict[str, Dictionary]],
    live: LoadedModel,
    bench: Workbench,
) -> tuple[Evidence, dict[str, Any]]:
    rows = paired_rows(plan, gathered[0][src], gathered[1][dst])
    result = fit_rows(plan, rows, src, dst, bench)
    arms = fit_arms(result, bench)
    back = fit_back(result, arms, bench)
    held_out = StoredPairs(rows, HELD_OUT, result.training)
    options = plan.options
    evidence = Evidence(
        result.bridge.src,
        result.bridge.dst,
        result.bridge.map,
        {arm: arms[arm] for arm in back},
        held_out,
        options.seed,
        back,
        *dictionaries,
        RunningModel(live, dst, held_out, options.max_tokens, options.seed),
    )
    return evidence, describe(plan, rows, src, dst)
