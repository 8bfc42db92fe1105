"""What the destination model loses when its activations are replaced by a dictionary's reconstruction."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary
from bridge.hookspecs import hookimpl
from bridge.maps import FittedMap
from bridge.metrics import Metric, ratio_interval
from bridge.scorers import NATIVE, Edit, Evidence, Measure, Need, Question, Scorer, Section
from bridge_scorers.shares import Array, Floats, carried


@final
class LossRecovered(Scorer):
    """Next-token loss with forward(D(back(y))) in the place of the destination's activations y.

    `loss_recovered` is (L_zero - L) / (L_zero - L_0): 1 for a perfect reconstruction, 0 for one no better than zeros;
    `loss_recovered_from_mean` the same with the training mean in the place of zeros, which are far from anything that
    the model knows; `loss_increase` is L - L_0 in nats per token. L_0 is the loss of the model as it is. Where an
    ablation does not raise the loss, there is nothing to recover and its ratio is left out. Intervals are bootstrapped
    over documents.

    Source: Bricken et al., "Towards monosemanticity" (2023), for zeros; Gao et al., arXiv 2406.04093, section 4.1.
    """

    name = "loss_recovered"
    summary = "Share of the destination's next-token loss that the carried dictionary recovers from ablation."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP, Need.SRC_DICTIONARY, Need.LIVE_MODEL})
    measures = (
        Measure(
            name="loss_recovered",
            meaning="share of the loss that the model keeps",
            unit="share",
            better="higher",
            section=Section.DICTIONARY,
            order=20,
            questions=(
                Question(
                    title="Does the live model still predict with the reconstruction in place? (share of the loss "
                    "recovered)",
                    shows="1 is the model's own loss, 0 the loss with the site set to zero. native is the "
                    "destination's own dictionary. It shows that what the model uses is kept; a site that matters "
                    "little is high for any reconstruction.",
                ),
            ),
        ),
        Measure(
            name="loss_recovered_from_mean",
            meaning="the same, against the site set to its mean",
            unit="share",
            better="higher",
            section=Section.DICTIONARY,
            order=21,
        ),
        Measure(
            name="loss_increase",
            meaning="how much the loss grows",
            unit="nats",
            better="lower",
            section=Section.DICTIONARY,
            order=22,
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Run the model once for each arm, and three times more."""
        live = evidence.live
        assert live is not None, "the runtime runs only scorers whose needs are met"
        plain, counts = live.losses(None)
        mean = evidence.held_out.mean_dst.astype(np.float32)
        ablations: dict[str, tuple[Edit, str]] = {
            "loss_recovered": (np.zeros_like, "zeros"),
            "loss_recovered_from_mean": (lambda y: np.broadcast_to(mean, y.shape).copy(), "the training mean"),
        }
        ablated = {name: (live.losses(edit)[0], what) for name, (edit, what) in ablations.items()}
        tokens = int(counts.sum())
        for arm, edit in _edits(evidence):
            patched = live.losses(edit)[0]
            for name, (worst, what) in ablated.items():
                if (worst - plain).sum() <= 0:
                    continue
                value, interval = _ratio(worst - patched, worst - plain, counts, evidence.seed)
                harm = (worst - plain).sum() / tokens
                note = f"against {what}, which cost {harm:.4f} nats per token"
                yield evidence.metric(self, name, arm, value, interval, tokens, note)
            value, interval = _ratio(patched - plain, counts, counts, evidence.seed)
            note = f"nats per token; {plain.sum() / tokens:.4f} as it is"
            yield evidence.metric(self, "loss_increase", arm, value, interval, tokens, note)


def _edits(evidence: Evidence) -> Iterator[tuple[str, Edit]]:
    source, own = evidence.src_dictionary, evidence.dst_dictionary
    assert source is not None, "the runtime runs only scorers whose needs are met"
    if own is not None:
        yield NATIVE, own.reconstruct
    for arm, back in evidence.back.items():
        yield arm, partial(_carry, evidence.arms[arm], source, back)


def _carry(forward: FittedMap, dictionary: Dictionary, back: FittedMap, y: Floats) -> Floats:
    return carried(forward, dictionary, back, y).astype(np.float32)


def _ratio(top: Array, bottom: Array, counts: Array, seed: int) -> tuple[float, tuple[float, float]]:
    # A single document may gain from an ablation: what counts is whether it was read at all.
    return float(top.sum() / bottom.sum()), ratio_interval(top, bottom, seed, counts=counts)


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer the loss recovered."""
    register(LossRecovered())
