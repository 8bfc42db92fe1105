"""From a plan to fitted maps: the one that was asked for, and the controls it is read against."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from typing import Any, final

import numpy as np

from bridge.containment import fault_of_rows
from bridge.errors import BridgeError, MapError, UsageError
from bridge.maps import FittedMap, Map, TrainingData
from bridge.pipeline.bridge import Bridge
from bridge.pipeline.pairs import PairedRows
from bridge.pipeline.prepare import Plan, Side, gather, paired_rows
from bridge.pipeline.training import mispaired_data, training_data
from bridge.pipeline.workbench import Workbench
from bridge.references import Site
from bridge.scorers import MAPPED, MISPAIRED


@final
@dataclass(frozen=True)
class Fit:
    """A bridge, and what it was fitted on.

    Attributes:
        bridge: The fitted bridge.
        kind: The map, and its options.
        rows: All paired rows.
        training: What the map was fitted on.
        plan: What was asked for.
        mispaired: The same rows with partners of other documents; None if no controls were wanted.
        floor: The map fitted on those, or why there is none.
    """

    bridge: Bridge
    kind: Map
    rows: PairedRows
    training: TrainingData
    plan: Plan
    mispaired: TrainingData | None = None
    floor: FittedMap | MapError | None = None


def fit_plan(plan: Plan, bench: Workbench, *, controls: bool = False, way_back: bool = False) -> Fit:
    """Collect, summarise and fit.

    Args:
        plan: What to fit.
        bench: Plugins, store and progress.
        controls: Fit the map on mispaired rows beside, for `fit_arms`.
        way_back: `fit_back` will follow.

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
    rows = paired_rows(plan, left[src], right[dst])
    return fit_rows(plan, rows, src, dst, bench, controls=controls, way_back=way_back)


def fit_rows(
    plan: Plan,
    rows: PairedRows,
    src: Site,
    dst: Site,
    bench: Workbench,
    *,
    controls: bool = False,
    way_back: bool = False,
) -> Fit:
    """Fit the plan's map on the training rows of one site of each model; arguments as of `fit_plan`.

    Raises:
        MapError: If the map cannot be fitted.
    """
    folds = range(plan.options.folds)
    training = training_data(rows, *plan.widths, folds, expected=rows.coverage.training_rows, way_back=way_back)
    mispaired, floor = None, None
    if controls:
        try:
            mispaired = mispaired_data(rows, training, folds)
        except MapError as error:
            floor = error
    kind = plan.options.build_map(bench.registry)
    outcome, *beside = fit_each(kind, [training, mispaired] if mispaired else [training])
    fitted = _given(outcome)
    provenance = describe(plan, rows, src, dst) | {"chosen": dict(fitted.chosen()), "products": training.products}
    labels = plan.src.model.label(src), plan.dst.model.label(dst)
    bridge = Bridge(*labels, kind.name, asdict(kind), fitted, provenance)
    return Fit(bridge, kind, rows, training, plan, mispaired, beside[0] if beside else floor)


def fit_arms(result: Fit, bench: Workbench) -> dict[str, FittedMap]:
    """Fit the controls beside a map: itself on mispaired rows, and every installed map that is a control arm.

    Returns:
        The maps by arm, `mapped` first. A control that these rows or widths do not allow is left out, with a note.
    """
    options = result.plan.options

    def on_mispaired_rows() -> FittedMap:
        assert result.floor, "fitted without controls"
        return _given(result.floor)

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

    both = {MAPPED: result.training, MISPAIRED: result.mispaired}
    data = {arm: rows.reversed() for arm, rows in both.items() if rows and arm in arms}
    refits = dict(zip(data, fit_each(result.kind, list(data.values())), strict=True))
    back = {}
    for arm, there in arms.items():
        try:
            back[arm] = _given(refits[arm]) if arm in refits else there.inverse()
        except MapError as error:
            if arm == MAPPED:
                raise
            bench.progress.note(f"No {arm} control of the dictionary: {error.what}")
    return back


def fit_each(kind: Map, several: Sequence[TrainingData]) -> list[FittedMap | MapError]:
    """Fit on several sets of rows together, or one by one where that fails: one's failure must not cost the other.

    Returns:
        The fitted maps, as `checked_fit` gives them, or the errors that it raised.
    """
    if len(several) > 1:
        with contextlib.suppress(Exception, SystemExit):
            return [_checked(kind, fitted, data) for fitted, data in zip(kind.fit_each(several), several, strict=True)]
    outcomes: list[FittedMap | MapError] = []
    for data in several:
        try:
            outcomes.append(checked_fit(kind, data))
        except MapError as error:
            outcomes.append(error)
    return outcomes


def _given(outcome: FittedMap | MapError) -> FittedMap:
    if isinstance(outcome, MapError):
        raise outcome
    return outcome


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
    return _checked(kind, fitted, data)


def _checked(kind: Map, fitted: FittedMap, data: TrainingData) -> FittedMap:
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
