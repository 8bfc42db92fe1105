"""Moments on the workers of an engine: every worker sums over runs of shards, and this process adds up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from bridge.pairing.rows import PairedRows
from bridge.pipeline.fit.sums import RUN, Asked, Summed, sum_rows
from bridge.pipeline.fit.training_data import Divided, by_runs, mispair
from bridge.pipeline.plan.elsewhere import DistantPlan, pool_of, work_of
from bridge.pipeline.plan.gather import artifacts_of, paired_rows
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.threads import threads_for
from bridge.products import Products, products_on
from bridge.references import Site

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Item = tuple[Asked, range]
"""What is summed, and the numbers of the shards."""


@final
@dataclass(frozen=True)
class DistantRows:
    """Opens a worker of moments in another process.

    Attributes:
        plan: The plan.
        sites: The site of the source, and that of the destination.
        outliers: Whether each row of each shard is an outlier.
    """

    plan: DistantPlan
    sites: tuple[Site, Site]
    outliers: list[NDArray[np.bool_]]

    def __call__(self) -> AbstractContextManager[Callable[[Item], Summed | None]]:
        """Return the function that sums over a run of shards."""
        plan, runtime = self.plan.open()
        src, dst = self.sites
        left, right = artifacts_of(plan.of_src, [src], runtime)[src], artifacts_of(plan.of_dst, [dst], runtime)[dst]
        return nullcontext(_summing(plan, paired_rows(plan, left, right, self.outliers), where_of(plan)))


def where_of(plan: Plan) -> Products:
    """Return where products are computed."""
    return products_on(placement_of(plan.of_src.models).torch_device())


@contextmanager
def divided(plan: Plan, rows: PairedRows, src: Site, dst: Site, runtime: Runtime | None) -> Iterator[Divided]:
    """Divide the sums among the workers of the plan's engine, if there is more than one run of shards.

    Args:
        plan: The plan.
        rows: The paired rows.
        src: Site of the source.
        dst: Site of the destination.
        runtime: Plugins, store and progress; None in a worker, which sums alone.
    """
    runs = rows.runs(RUN)
    if runtime is None or len(runs) == 1:
        yield by_runs(runs, plan.widths, where_of(plan))
        return
    models = plan.options.models
    elsewhere = DistantRows(DistantPlan.of(plan, runtime), (src, dst), rows.outliers)
    work = work_of("moments", lambda: nullcontext(_summing(plan, rows, where_of(plan))), elsewhere, models, runtime)
    with pool_of(work, models, runtime) as pool:

        def sums(asked: Asked) -> Iterator[tuple[int, Summed | None]]:
            # The first run decides whether float32 is abandoned.
            yield from pool.run([(asked, runs[0].shards)])
            for index, found in pool.run([(asked, run.shards) for run in runs[1:]]):
                yield index + 1, found

        yield sums


def _summing(plan: Plan, rows: PairedRows, where: Products) -> Callable[[Item], Summed | None]:
    def summed(item: Item) -> Summed | None:
        asked, shards = item
        with threads_for(max(plan.widths)):
            return sum_rows(rows.run(shards), plan.widths, asked, where, mispair)

    return summed
