"""From a plan to fitted maps: the one that was asked for, and the controls it is read against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import final

from bridge.errors import MapError, UsageError
from bridge.maps import FittedMap, Map, TrainingData
from bridge.pairing.rows import PairedRows
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.fit.checks import fit_each, map_or_raise
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
    """A bridge, and what it was fitted on.

    Attributes:
        bridge: The fitted bridge.
        kind: The map, and its options.
        rows: All paired rows.
        training: What the map was fitted on.
        mispaired: The same rows with partners of other documents; None if no controls were wanted.
        floor: The map fitted on those, or why there is none.
        back: The map fitted the other way, or why there is none; None where no way back was wanted.
        floor_back: The same of the mispaired rows.
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
    """Collect, summarise and fit, both ways.

    Args:
        plan: What to fit.
        runtime: Plugins, store and progress.
        controls: Fit the map on mispaired rows beside, for `fit_arms`.
        reverse: Fit that the other way, too: `fit_back` will follow.

    Raises:
        UsageError: If both models are the same at the same layer.
        BridgeError: As `gather`, or if the map cannot be fitted.
    """
    src, dst = plan.src.model.single_site(), plan.dst.model.single_site()
    if (plan.src.identity, src) == (plan.dst.identity, dst):
        names = plan.src.model.pinned(), plan.dst.model.pinned()
        raise UsageError(
            f"{' and '.join(names)} are the same model at the same layer: nothing to bridge.",
            remedy="Choose another layer or another model.",
        )
    left, right = gather(plan, {"src": [src], "dst": [dst]}, runtime)
    runtime.progress.note("Fitting the map.")
    rows = paired_rows(plan, left[src], right[dst])
    result = fit_rows(plan, rows, src, dst, controls=controls, back=True, reverse=reverse)
    result.bridge.provenance.update(
        with_untrained(result.bridge.provenance, (plan.src, plan.dst), plan.options.models, runtime)
    )
    if isinstance(result.back, MapError):
        runtime.progress.note(f"No way back is kept with the bridge: {result.back.what}")
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
) -> Fit:
    """Fit the plan's map on the training rows of one site of each model; other arguments as of `fit_plan`.

    Args:
        back: Fit the way back of the map, which is kept with the bridge; `reverse` does so, too.
        folds: Which training folds; all by default.

    Raises:
        MapError: If the map cannot be fitted.
    """
    folds = folds or plan.training_folds
    back = back or reverse
    training = training_data(rows, *plan.widths, folds, expected=rows.coverage.training_rows, reverse=back)
    mispaired, floor = None, None
    if controls:
        try:
            mispaired = mispaired_data(rows, training, folds)
        except MapError as error:
            floor = error
    kind = plan.map
    data = [training, mispaired] if mispaired else [training]
    outcome, *beside = fit_each(kind, data)
    fitted = map_or_raise(outcome)
    way_back, *beside_back = _fit_back(kind, fitted, data if reverse else data[:1]) if back else [None]
    provenance = describe(plan, rows, src, dst) | {"chosen": dict(fitted.chosen()), "products": training.products}
    labels = plan.src.model.label(src), plan.dst.model.label(dst)
    kept = None if isinstance(way_back, MapError) else way_back
    bridge = Bridge(*labels, kind.name, asdict(kind), fitted, provenance, kept)
    floors = (beside[0] if beside else floor), way_back, (beside_back[0] if beside_back else None)
    return Fit(bridge, kind, rows, training, mispaired, *floors)


def _fit_back(kind: Map, fitted: FittedMap, data: Sequence[TrainingData]) -> Sequence[FittedMap | MapError]:
    """Fit the other way on the same rows; a control that is no fit of them (a random rotation) is inverted."""
    if not kind.control_arm:
        return fit_each(kind, [one.reversed() for one in data])
    try:
        return [fitted.inverse()]
    except MapError as error:
        return [error]
