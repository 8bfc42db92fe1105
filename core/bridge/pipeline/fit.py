"""From a plan to fitted maps: the one that was asked for, and the controls it is read against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, final

import numpy as np

from bridge.containment import fault_of_rows
from bridge.errors import BridgeError, MapError, UsageError
from bridge.maps import FittedMap, Map, TrainingData
from bridge.pipeline.bridge import Bridge
from bridge.pipeline.pairs import PairedRows, training_data
from bridge.pipeline.prepare import Plan, Side, gather, paired_rows
from bridge.pipeline.workbench import Workbench
from bridge.references import Site
from bridge.scorers import MAPPED, MISPAIRED


@final
@dataclass(frozen=True)
class Fit:
    """A bridge, and what it was fitted on."""

    bridge: Bridge
    kind: Map
    rows: PairedRows
    training: TrainingData
    plan: Plan


def fit_plan(plan: Plan, bench: Workbench) -> Fit:
    """Collect, summarise and fit.

    Raises:
        UsageError: If both models are the same at the same layer.
        BridgeError: As `gather`, or if the map cannot be fitted.
    """
    src, dst = plan.src.model.single_site(), plan.dst.model.single_site()
    if (plan.src.identity, src) == (plan.dst.identity, dst):
        raise UsageError(
            f"{plan.options.src} and {plan.options.dst} are the same model at the same layer: nothing to bridge.",
            remedy="Choose another layer or another model.",
        )
    left, right = gather(plan, {"src": [src], "dst": [dst]}, bench)
    bench.progress.note("Fitting the map.")
    return fit_rows(plan, paired_rows(plan, left[src], right[dst]), src, dst, bench)


def fit_rows(plan: Plan, rows: PairedRows, src: Site, dst: Site, bench: Workbench) -> Fit:
    """Fit the plan's map on the training rows of one site of each model.

    Raises:
        MapError: If the map cannot be fitted.
    """
    training = training_data(rows, *plan.widths, list(range(plan.options.folds)))
    kind = plan.options.build_map(bench.registry)
    fitted = checked_fit(kind, training)
    provenance = describe(plan, rows, src, dst) | {"chosen": dict(fitted.chosen())}
    labels = plan.src.model.label(src), plan.dst.model.label(dst)
    return Fit(Bridge(*labels, kind.name, asdict(kind), fitted, provenance), kind, rows, training, plan)


def fit_arms(result: Fit, bench: Workbench) -> dict[str, FittedMap]:
    """Fit the controls beside a map: itself on mispaired rows, and every installed map that is a control arm.

    Returns:
        The maps by arm, `mapped` first. A control that these rows or widths do not allow is left out, with a note.
    """
    options = result.plan.options

    def on_mispaired_rows() -> FittedMap:
        data = training_data(result.rows, *result.plan.widths, list(range(options.folds)), mispaired=True)
        if data.moments.n < result.training.moments.n / 2:
            raise MapError("most rows have no partner in another document: the documents are too long, or too few.")
        return checked_fit(result.kind, data)

    def as_control(control: type[Map]) -> FittedMap:
        seeded = {"seed": options.seed} if "seed" in {field.name for field in fields(control)} else {}
        return checked_fit(control(**seeded), result.training)

    makers = {MISPAIRED: on_mispaired_rows} | {
        control.control_arm: partial(as_control, control)
        for control in bench.registry.maps.values()
        if control.control_arm
    }
    arms = {MAPPED: result.bridge.fitted}
    for arm, make in makers.items():
        try:
            arms[arm] = make()
        except MapError as error:
            bench.progress.note(f"No {arm} control: {error.what}")
    return arms


def fit_back(result: Fit, arms: Mapping[str, FittedMap], bench: Workbench) -> dict[str, FittedMap]:
    """Return for every arm the map from the destination to the source, through which a carried dictionary reads.

    The map that was asked for, and its mispaired control, are fitted again on the same rows the other way round: the
    inverse of a map that shrinks what it cannot predict (ridge) would blow up noise. A control that is no fit of the
    rows is inverted.

    Raises:
        MapError: If the map cannot be fitted the other way.
    """

    def fitted_back(mispaired: bool) -> FittedMap:
        folds = list(range(result.plan.options.folds))
        data = training_data(result.rows, *result.plan.widths, folds, mispaired) if mispaired else result.training
        return checked_fit(result.kind, data.reversed())

    back = {}
    for arm, fitted in arms.items():
        try:
            back[arm] = fitted_back(arm == MISPAIRED) if arm in (MAPPED, MISPAIRED) else fitted.inverse()
        except MapError as error:
            if arm == MAPPED:
                raise
            bench.progress.note(f"No {arm} control of the dictionary: {error.what}")
    return back


def checked_fit(kind: Map, data: TrainingData) -> FittedMap:
    """Fit, and look at what the plugin returned before trusting it.

    Raises:
        MapError: If it is no fitted map of these widths, or gives NaN at the training mean.
    """
    try:
        fitted = kind.fit(data)
    except BridgeError:
        raise
    except (Exception, SystemExit) as error:  # a plugin may fail in any way; the user must learn which one it was
        raise MapError(
            f"The map {kind.name} failed to fit ({type(error).__name__}: {error}).",
            cause="The plugin is broken, or cannot cope with these rows.",
            remedy="Run the command again with --debug to see where, or choose another map.",
        ) from error
    if not isinstance(fitted, FittedMap) or (fitted.d_src, fitted.d_dst) != (data.d_src, data.d_dst):
        raise MapError(
            f"The map {kind.name} returned {type(fitted).__name__}, not a fitted map {data.d_src} -> {data.d_dst}.",
            cause="The plugin is broken.",
            remedy="Run bridge.testing.check_map on it, or choose another map.",
        )
    # The mean, and a row as far from it as rows are.
    spread = np.sqrt(np.diag(data.moments.xx) / max(data.moments.n, 1))
    rows = np.stack([data.moments.mean_x, data.moments.mean_x + spread]).astype(np.float32)
    for move, what in ((fitted, "points"), (fitted.direction, "directions")):
        try:
            wrong = fault_of_rows(move(rows), (2, data.d_dst))
        except (Exception, SystemExit) as error:
            wrong = f"{type(error).__name__} ({error})"
        if wrong:
            raise MapError(
                f"The map {kind.name} gives {wrong} for {what} of shape {rows.shape}, not finite {(2, data.d_dst)}.",
                cause="The plugin is broken.",
                remedy="Run bridge.testing.check_map on it, or choose another map.",
            )
    return fitted


def describe(plan: Plan, rows: PairedRows, src: Site, dst: Site) -> dict[str, Any]:
    """Return the provenance of a result: everything that its numbers depend on."""
    return {
        "src": _describe_side(plan.src, src),
        "dst": _describe_side(plan.dst, dst),
        "corpus": {
            "name": plan.options.corpus,
            "sha256": plan.corpus.identity,
            "documents": len(plan.corpus.documents),
            "duplicates": plan.corpus.duplicates,
        },
        "rows": rows.coverage.summary(),
        "options": plan.options.model_dump(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions of what computes: bridge, Python and the libraries beneath."""
    import platform
    from importlib.metadata import version

    names = ("residual-bridge", "torch", "transformers", "nnsight", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _describe_side(side: Side, site: Site) -> dict[str, Any]:
    model = side.model
    return {
        "reference": model.label(site),
        "family": model.adapter.name,
        "weights": model.weights.source,
        "identity": side.identity,
        "site": str(site),
        "point": site.point,
        "d_model": model.info.d_model,
        "n_layers": model.info.n_layers,
    }
