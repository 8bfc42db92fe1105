"""From a plan to fitted maps: the requested map and its controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import final

from bridge.errors import MapError, UsageError
from bridge.maps import FittedMap, Map, TrainingData
from bridge.pairing.rows import PairedRows
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.fit.checks import fit_each, map_or_raise
from bridge.pipeline.fit.divided import divided, where_of
from bridge.pipeline.fit.training_data import mispaired_data, training_data
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.provenance import describe
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.self_check import with_untrained
from bridge.references import Site


@final
@dataclass(frozen=True)
class Fit:
    """A bridge and its training data.

    Attributes:
        bridge: The fitted bridge.
        kind: The map type with its options.
        rows: All paired rows.
        training: The training data of the map.
        mispaired: The same source rows with partners of other documents; None if no controls were requested.
        floor: The map fitted on the mispaired rows, or the error of that fit.
        back: The reverse map, or the error of its fit; None if it was not requested.
        floor_back: The reverse map fitted on the mispaired rows, or the error.
    """

    bridge: Bridge
    kind: Map
    rows: PairedRows
    training: TrainingData
    mispaired: TrainingData | None = None
    floor: FittedMap | MapError | None = None
    back: FittedMap | MapError | None = None
    floor_back: FittedMap | MapError | None = None


def fit_plan(plan: Plan, runtime: Runtime, *, controls: bool = False, reverse: bool = False) -> Fit:
    """Collect activations, compute moments, and fit the map and its reverse map.

    Args:
        plan: The plan.
        runtime: Plugins, store and progress.
        controls: Also fit the map on mispaired rows, for `fit_arms`.
        reverse: Also fit the reverse map of the mispaired rows, for `fit_back`.

    Raises:
        UsageError: If both models are the same at the same layer.
        BridgeError: As `gather`, or if the map cannot be fitted.
    """
    src, dst = plan.src.model.single_site(), plan.dst.model.single_site()
    if (plan.src.identity, src) == (plan.dst.identity, dst):
        names = plan.src.model.pinned(), plan.dst.model.pinned()
        raise UsageError(
            f"{' and '.join(names)} are the same model at the same layer.",
            remedy="Choose another layer or another model.",
        )
    left, right = gather(plan, {"src": [src], "dst": [dst]}, runtime)
    runtime.progress.note("Fitting the map.")
    rows = paired_rows(plan, left[src], right[dst])
    result = fit_rows(plan, rows, src, dst, controls=controls, back=True, reverse=reverse, runtime=runtime)
    result.bridge.provenance.update(
        with_untrained(result.bridge.provenance, (plan.src, plan.dst), plan.options.models, runtime)
    )
    if isinstance(result.back, MapError):
        runtime.progress.note(f"The bridge is saved without a reverse map: {result.back.what}")
    return result


def fit_rows(
    plan: Plan,
    rows: PairedRows,
    src: Site,
    dst: Site,
    *,
    controls: bool = False,
    back: bool = False,
    reverse: bool = False,
    folds: Sequence[int] = (),
    runtime: Runtime | None = None,
) -> Fit:
    """Fit the plan's map on the training rows of one site of each model; other arguments as of `fit_plan`.

    Args:
        back: Fit the reverse map, which is saved with the bridge; implied by `reverse`.
        folds: The training folds; default: all.
        runtime: Divides the moments among the workers of the plan's engine; default: this process computes them.

    Raises:
        MapError: If the map cannot be fitted.
    """
    folds = folds or plan.training_folds
    back = back or reverse
    where, expected = where_of(plan), rows.coverage.training_rows
    mispaired, floor = None, None
    with divided(plan, rows, src, dst, runtime) as sums:
        training = training_data(
            rows, *plan.widths, folds, expected=expected, reverse=back, products=where, divided=sums
        )
        if controls:
            try:
                mispaired = mispaired_data(rows, training, folds, sums)
            except MapError as error:
                floor = error
    kind = plan.map
    data = [training, mispaired] if mispaired else [training]
    outcome, *beside = fit_each(kind, data)
    fitted = map_or_raise(outcome)
    way_back, *beside_back = _fit_back(kind, fitted, data if reverse else data[:1]) if back else [None]
    provenance = describe(plan, rows, src, dst) | {
        "chosen": dict(fitted.chosen()),
        "products": training.products,
        **({} if training.device == "cpu" else {"products_on": training.device}),
    }
    labels = plan.src.model.label(src), plan.dst.model.label(dst)
    kept = None if isinstance(way_back, MapError) else way_back
    bridge = Bridge(*labels, kind.name, asdict(kind), fitted, provenance, kept)
    floors = (beside[0] if beside else floor), way_back, (beside_back[0] if beside_back else None)
    return Fit(bridge, kind, rows, training, mispaired, *floors)


def _fit_back(kind: Map, fitted: FittedMap, data: Sequence[TrainingData]) -> Sequence[FittedMap | MapError]:
    """Fit the reverse map on the same rows; a control map that is not fitted (a random rotation) is inverted."""
    if not kind.control_arm:
        return fit_each(kind, [one.reversed() for one in data])
    try:
        return [fitted.inverse()]
    except MapError as error:
        return [error]
