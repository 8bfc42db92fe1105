"""The destination model's loss when a dictionary's reconstruction replaces its activations."""

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
    """Next-token loss with forward(D(back(y))) instead of the destination's activations y.

    `loss_recovered` is (L_zero - L) / (L_zero - L_0): 1 for a perfect reconstruction, 0 for a reconstruction no better
    than zeros; `loss_recovered_from_mean` is the same with the training mean instead of zeros, which are far from the
    model's activations; `loss_increase` is L - L_0 in nats per token. L_0 is the loss of the unedited model. If an
    ablation does not raise the loss, its ratio is left out. Intervals are bootstrapped over documents.

    Source: Bricken et al., "Towards monosemanticity" (2023), for zeros; Gao et al., arXiv 2406.04093, section 4.1.
    """

    name = "loss_recovered"
    summary = "Share of the destination's next-token loss that the transferred dictionary recovers from ablation."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP, Need.SRC_DICTIONARY, Need.LIVE_MODEL})
    measures = (
        Measure(
            name="loss_recovered",
            meaning="share of the loss recovered from zeros",
            unit="share",
            better="higher",
            section=Section.DICTIONARY,
            order=20,
            questions=(
                Question(
                    title="Does the live model still predict with the reconstruction in place? (share of the loss "
                    "recovered)",
                    shows="1 is the model's own loss, 0 the loss with the site set to zero. native is the "
                    "destination's own dictionary. A high value shows that the information used by the model is kept; "
                    "at a site of little importance every reconstruction has a high value.",
                ),
            ),
        ),
        Measure(
            name="loss_recovered_from_mean",
            meaning="share of the loss recovered from the mean",
            unit="share",
            better="higher",
            section=Section.DICTIONARY,
            order=21,
        ),
        Measure(
            name="loss_increase",
            meaning="increase of the loss",
            unit="nats",
            better="lower",
            section=Section.DICTIONARY,
            order=22,
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Run the model once for each arm, and once each unedited, with zeros and with the mean."""
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
            note = f"nats per token; unedited model: {plain.sum() / tokens:.4f}"
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
    # An ablation may lower the loss of a single document, so counts decide which documents are included.
    return float(top.sum() / bottom.sum()), ratio_interval(top, bottom, seed, counts=counts)


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Register the loss recovered."""
    register(LossRecovered())
