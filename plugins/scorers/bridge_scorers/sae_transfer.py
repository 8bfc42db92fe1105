"""Reconstruction by a dictionary of the activations of another model than its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import NATIVE, SELF, Evidence, HeldOutPairs, Measure, Need, Question, Rows, Scorer, Section
from bridge_scorers.shares import Array, Floats, carried, reconstruct, share_explained

NOTES = {"sae_ev": "", "sae_ev_entrywise": "1 - MSE / var(all entries), the variant of arXiv 2605.24577"}
NOTE_OF_ARM = {
    SELF: "the source dictionary on the source's own rows: the upper limit",
    NATIVE: "the destination's own dictionary",
}


@final
class SaeTransfer(Scorer):
    """EV of forward(D(back(y))) on held-out destination rows without outliers, D being the source's dictionary.

    `sae_ev` is 1 - sum ||y - y^||^2 / sum ||y - mean||^2, the mean being that of the held-out rows; `sae_ev_entrywise`
    is 1 - MSE / var(all entries), the variant of arXiv 2605.24577. The arm `self` is D on the source's rows, `native`
    the destination's own dictionary, if there is one.
    """

    name = "sae_transfer"
    summary = "Share of the destination's variance that the transferred source dictionary reconstructs."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP, Need.SRC_DICTIONARY})
    measures = (
        Measure(
            name="sae_ev",
            meaning="share of the variance that the dictionary reconstructs",
            unit="share",
            better="higher",
            section=Section.DICTIONARY,
            order=10,
            questions=(
                Question(
                    title="Does the source's dictionary reconstruct the destination's activations? "
                    "(EV on held-out rows)",
                    shows="self is the dictionary on its own model, the upper limit. raw is the dictionary on the "
                    "other model's rows without a map: below 0 is worse than the mean. Compare mapped with mispaired, "
                    "the same map type fitted on mispaired rows. mispaired is far above 0, because aligning only the "
                    "directions of largest variance already gives a partial reconstruction. A high value shows that "
                    "features transfer, not that they have the same meaning in the model.",
                ),
            ),
        ),
        Measure(
            name="sae_ev_entrywise",
            meaning="the variant of arXiv 2605.24577",
            unit="share",
            better="higher",
            section=Section.DICTIONARY,
            order=11,
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Stream over the rows twice: for the means, then for all arms at once."""
        pairs = evidence.held_out
        mean_x, mean_y, count = _means(pairs)
        sides = {"x": mean_x, "y": mean_y}
        spread = {(side, name): np.zeros(pairs.n_documents) for side in sides for name in NOTES}
        residual: dict[str, Array] = {}
        for rows in pairs.typical():
            for side, mean in sides.items():
                true = rows.x if side == "x" else rows.y
                for name, centre in (("sae_ev", mean), ("sae_ev_entrywise", mean.mean())):
                    spread[side, name] += rows.sum_by_document(((true - centre) ** 2).sum(1), pairs.n_documents)
            for arm, true, found in _reconstructions(evidence, rows):
                errors = rows.sum_by_document(((true - found) ** 2).sum(1), pairs.n_documents)
                residual[arm] = residual.get(arm, np.zeros(pairs.n_documents)) + errors
        for arm, errors in residual.items():
            for name, note in NOTES.items():
                value, interval = share_explained(errors, spread["x" if arm == SELF else "y", name], evidence.seed)
                notes = "; ".join(filter(None, (NOTE_OF_ARM.get(arm, ""), note)))
                yield evidence.metric(self, name, arm, value, interval, count, notes)


def _reconstructions(evidence: Evidence, rows: Rows) -> Iterator[tuple[str, Floats, Array]]:
    """Yield each arm with the true rows and their reconstructions, both (n, d)."""
    source, own = evidence.src_dictionary, evidence.dst_dictionary
    assert source is not None, "the runtime runs only scorers whose needs are met"
    yield SELF, rows.x, reconstruct(source, rows.x).astype(np.float64)
    if own is not None:
        yield NATIVE, rows.y, reconstruct(own, rows.y).astype(np.float64)
    for arm, back in evidence.back.items():
        yield arm, rows.y, carried(evidence.arms[arm], source, back, rows.y)


def _means(pairs: HeldOutPairs) -> tuple[Array, Array, int]:
    """Return the means of the typical rows, (d_src,) and (d_dst,), and the number of rows."""
    sum_x, sum_y, count = np.zeros(len(pairs.mean_src)), np.zeros(len(pairs.mean_dst)), 0
    for rows in pairs.typical():
        sum_x += rows.x.sum(0, dtype=np.float64)
        sum_y += rows.y.sum(0, dtype=np.float64)
        count += len(rows.x)
    return sum_x / count, sum_y / count, count


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Register the transfer of dictionaries."""
    register(SaeTransfer())
