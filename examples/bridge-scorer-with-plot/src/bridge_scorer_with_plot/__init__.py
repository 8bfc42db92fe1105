"""Spectrum: how much of the destination's variance a map explains, principal component by principal component."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric, ratio_interval
from bridge.scorers import Evidence, Look, Need, Plot, Rows, Scorer
from bridge_scorer_with_plot.components import Array, Components, find_components, is_scored
from bridge_scorer_with_plot.drawing import draw

bridge_api = "1.1"


@final
class Spectrum(Scorer):
    """EV_k = 1 - sum ((y - y^) v_k)^2 / sum ((y - mean) v_k)^2, v_k the principal components of the destination.

    Explained variance as a whole is mostly that of the few leading components. A map that carries those and nothing
    else looks as good as one that carries many small ones, which most features live in. So components are pooled: the
    `ev_leading` ones hold half of the variance, the `ev_middle` ones the next 40%, and the `ev_tail` ones the last 10%.

    The components are those of every second held-out document, and the other documents are scored: directions chosen
    for their small variance on some rows would have too small a variance on these rows, and too small an EV.
    """

    name = "spectrum"
    summary = "Where along the destination's spectrum the map explains variance, with a plot."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP})

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Stream over the rows twice: for their components, then for all arms at once.

        Raises:
            BridgeError: If there are not two held-out documents.
        """
        pairs = evidence.held_out
        found = find_components(pairs)
        groups = [*found.parts.values(), *found.bands]
        spread = np.zeros((len(groups), pairs.n_documents))
        residual = {arm: np.zeros_like(spread) for arm in evidence.arms}
        count = 0
        for every in pairs.typical():
            rows = every.take(is_scored(every))
            count += len(rows.y)
            spread += _squares(rows, rows.y - found.mean, found, groups, pairs.n_documents)
            for arm, fitted in evidence.arms.items():
                residual[arm] += _squares(rows, rows.y - fitted(rows.x), found, groups, pairs.n_documents)
        held = spread.sum(1) / found.total
        shares = dict(zip(found.parts, held[: len(found.parts)], strict=True))
        evidence.keep(f"{self.name}.edges", np.array([0, *(band.stop for band in found.bands)], np.float32))
        evidence.keep(f"{self.name}.variance", held[len(found.parts) :])
        for arm in evidence.arms:
            explained = np.array([_explained(*pair, evidence.seed) for pair in zip(residual[arm], spread, strict=True)])
            evidence.keep(f"{self.name}.ev.{arm}", _drawable(explained[len(found.parts) :]))
            for (name, part), (value, low, high) in zip(found.parts.items(), explained, strict=False):
                note = f"components {part.start + 1}-{part.stop}, {shares[name]:.0%} of the variance"
                yield evidence.metric(self, name, arm, value, (low, high), count, note)

    def plot(self, kept: Mapping[str, NDArray[np.floating]], look: Look) -> Plot:
        """Draw EV against the number of the component, an arm a line, and the variance below."""
        return draw(kept, look)


def _squares(rows: Rows, error: Array, found: Components, groups: list[slice], n_documents: int) -> Array:
    """Return squared errors summed over each group of components and document: (n, d) -> (groups, documents)."""
    squares = np.square(error @ found.basis)
    return np.array([rows.sum_by_document(squares[:, group].sum(1), n_documents) for group in groups])


def _explained(residual: Array, spread: Array, seed: int) -> tuple[float, float, float]:
    """Return 1 - residual / spread with its 95% interval over documents; both arguments are (documents,)."""
    low, high = ratio_interval(residual, spread, seed)
    return 1 - residual.sum() / spread.sum(), 1 - high, 1 - low


def _drawable(explained: Array) -> Array:
    """Return (bands, 3) without NaN: an interval that could not be had has no width."""
    return np.where(np.isfinite(explained), explained, explained[:, :1])


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer the spectrum."""
    register(Spectrum())
