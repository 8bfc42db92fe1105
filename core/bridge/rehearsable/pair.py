"""Commands that run two models, as rehearsals see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bridge.face.explain import Directions, explain_by, refuse_idle
from bridge.face.files import need_free
from bridge.face.live import AUDIT_MAP
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.jobs.audit import audit as audit_options
from bridge.pipeline.jobs.foreign import with_reader_of
from bridge.pipeline.jobs.run import fit as fit_options
from bridge.pipeline.jobs.run import run as run_options
from bridge.pipeline.jobs.sweep import sweep as sweep_options
from bridge.pipeline.plan.options import Options, make_options
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.transfer.dictionary_sets import Dictionaries
from bridge.references import parse_reference
from bridge.rehearsable.inputs import narrow, shipped_sites
from bridge.rehearsal.command import Command, Performed, Surroundings, pair_of
from bridge.report.heatmap import write_sweep
from bridge.report.html import REPORT, need_ours, write_report

TEXTS = 3
"""Texts that a rehearsed explanation reads."""

EXPLAINING = "the passes and the words of the explanations"
Out = str | Path | None


def run(src: str, dst: str, *, out: Out = None, **options: Any) -> Command:
    """Describe `bridge run`, with its report."""
    given = make_options(src=src, dst=dst, **options)
    reference, positions = given.dictionary.reference, given.verbalize.positions
    explains = bool(reference or positions)

    def perform(on: Surroundings) -> Performed:
        folder = on.folder / "run"
        result = run_options(on.options, folder, on.progress)
        _report(folder, on)
        failed = result.bridge.provenance.get("failed_scorers", {})
        return Performed(failed, frozenset(metric.scorer for metric in result.metrics))

    return Command(
        given,
        perform,
        pair_of(given),
        explained=("src", "dst") if explains else (),
        dictionaries={"src": reference} if reference else {},
        checks=_free_report(out),
        idle=True,
        judged=explains,
    )


def fit(src: str, dst: str, *, out: Out = None, **options: Any) -> Command:
    """Describe `bridge fit`."""
    given = make_options(src=src, dst=dst, **options)

    def perform(on: Surroundings) -> Performed:
        fit_options(on.options, on.folder / "bridge", on.progress)
        return Performed()

    return Command(given, perform, pair_of(given))


def sweep(src: str, dst: str, *, out: Out = None, **options: Any) -> Command:
    """Describe `bridge sweep`, with its report."""
    given = make_options(src=src, dst=dst, **options)

    def perform(on: Surroundings) -> Performed:
        folder = on.folder / "sweep"
        result = sweep_options(on.options, on.progress, out=folder)
        write_sweep(result, folder)
        _report(folder, on)
        return Performed(result.provenance.get("failed_scorers", {}))

    return Command(given, perform, pair_of(given), checks=_free_report(out))


def audit(src: str, dst: str, *, sites: str = "", dst_dictionary: str = "", out: Out = None, **options: Any) -> Command:
    """Describe `bridge audit`: at its sites, with the dictionaries that it names or that lie in the models' folders."""
    reference = str(options.pop("dictionary", None) or "")
    given = make_options(**{"src": src, "dst": dst, "map": AUDIT_MAP, **options})
    if there := shipped_sites(src) if sites == "all" else sites:
        sides = {"src": src, "dst": dst}
        given = given.updated(**{side: str(replace(parse_reference(text), site=there)) for side, text in sides.items()})

    def perform(on: Surroundings) -> Performed:
        own, other = on.dictionaries.get("src", ""), on.dictionaries.get("dst", "")
        result = audit_options(on.options, "", Dictionaries(own, other, any_model=True), on.progress)
        failed = {name: what for one in result.provenance for name, what in one.get("failed_scorers", {}).items()}
        return Performed(failed)

    named = {"src": reference, "dst": dst_dictionary}
    return Command(
        given,
        perform,
        pair_of(given),
        dictionaries={side: text for side, text in named.items() if text},
        checks=_free(out),
        left_out=("the passes with reconstructions in the place of activations",),
    )


def explain(
    src: str,
    via: str,
    texts: Sequence[str] = (),
    *,
    every: int = 1,
    ask: str = "",
    directions: Directions | None = None,
    any_layer: bool = False,
    out: Out = None,
    **options: Any,
) -> Command:
    """Describe `bridge explain`, of a few of the texts."""
    refuse_idle(directions is not None, bool(options.get("washout")), every, ask)
    given = make_options(src=src, dst=via, **options)

    def perform(on: Surroundings) -> Performed:
        vectors = None if directions is None else narrow(directions, on.widths["src"])
        some = texts if isinstance(texts, str) else texts[:TEXTS]
        explain_by(on.options, some, every, vectors, None, on.progress, any_layer=any_layer, ask=ask)
        return Performed()

    def complete(options: Options, models: Mapping[str, ResolvedModel], runtime: Runtime) -> Options:
        if options.verbalize.dst_verbalizer:
            return options
        return with_reader_of(models["dst"], options, runtime, asked=bool(ask))

    return Command(
        given,
        perform,
        pair_of(given),
        explained=("dst",),
        complete=complete,
        checks=_free(out),
        left_out=(EXPLAINING,),
    )


def _free(out: Out) -> dict[str, Any]:
    return {} if out is None else {"out": partial(need_free, out)}


def _free_report(out: Out) -> dict[str, Any]:
    return {} if out is None else {"out": partial(need_ours, Path(out) / REPORT)}


def _report(folder: Path, on: Surroundings) -> None:
    with on.progress.stage("report", 1, "pages") as advance:
        write_report([folder], folder / REPORT)
        advance()
