"""The match of a source dictionary's mapped directions with the destination dictionary's directions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import final

import numpy as np

from bridge.dictionaries import Dictionary
from bridge.errors import BridgeError
from bridge.geometry import unit_rows
from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import MAPPED, RANDOM_MAP, RAW, Evidence, Measure, Need, Question, Scorer, Section
from bridge_scorers.shares import SAMPLE, Array, alive, chunks, feature_mean

MOST = 4096


@final
class DecoderMatch(Scorer):
    """Cosines of moved source decoder directions with the destination's, over alive features of both.

    `decoder_match_mean` and `decoder_match_above_half` are the mean cosine of the Hungarian assignment and the share of
    its pairs above 0.5, `decoder_match_max` the mean over source features of their largest cosine. A feature is alive
    if it fires on one of at most 20,000 held-out rows drawn by seed. The interval is a bootstrap over features.

    Two dictionaries with the same initialisation seed match without any training: the arms `mapped:NAME` and `raw:NAME`
    use other dictionaries of the destination (another seed, untrained) instead of its own, to measure this effect. With
    more than 4,096 alive features on a side, only the largest cosines of 4,096 source features drawn by seed are given.

    Source: the matching of arXiv 2605.24577; the assignment of Crouse, "On implementing 2D rectangular assignment
    algorithms" (2016), as implemented in scipy.
    """

    name = "decoder_match"
    summary = "Cosine of moved source decoder directions with the destination's own."
    needs = frozenset({Need.HELD_OUT_PAIRS, Need.MAP, Need.SRC_DICTIONARY, Need.DST_DICTIONARY})
    measures = (
        Measure(
            name="decoder_match_mean",
            meaning="mean cosine of the one-to-one match",
            unit="cosine",
            better="higher",
            section=Section.DICTIONARY,
            order=40,
            questions=(
                Question(
                    title="Do decoder directions match? (mean cosine of the best one-to-one match, alive features)",
                    shows="Chance is random_map, not 0. A match does not show that the encoders use the same basis: "
                    "see raw in the table of reconstructions.",
                ),
                Question(
                    title="Do the decoders match without shared training? (the same mean cosine, against "
                    "other dictionaries)",
                    shows="own_untrained_init is the source dictionary's random initialisation; same_init is a "
                    "dictionary of the destination with the same initialisation. same_init matches raw, without a map, "
                    "because training moves decoders little: this is no evidence of shared features.",
                    other_dictionaries=True,
                ),
            ),
        ),
        Measure(
            name="decoder_match_above_half",
            meaning="share of matches above 0.5",
            unit="share",
            better="higher",
            section=Section.DICTIONARY,
            order=41,
        ),
        Measure(
            name="decoder_match_max",
            meaning="mean largest cosine, without one-to-one assignment",
            unit="cosine",
            better="higher",
            section=Section.DICTIONARY,
            order=42,
        ),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Compare one pair of dictionaries at a time, by their alive directions."""
        source, own = evidence.src_dictionary, evidence.dst_dictionary
        assert source is not None and own is not None, "the runtime runs only scorers whose needs are met"
        rows = evidence.held_out.sample(SAMPLE, evidence.seed)
        moving = _alive_directions("source", source, rows.x)
        rivals: dict[str, Dictionary] = {"": own, **evidence.twins}
        for twin, dictionary in rivals.items():
            there = _alive_directions(twin or "destination", dictionary, rows.y)
            chosen, which = _subsample(moving, there, evidence.seed)
            note = which + (f"; against the destination's dictionary {twin}, a control" if twin else "")
            for arm, fitted in evidence.arms.items():
                if twin and arm not in (MAPPED, RAW):
                    continue
                name = f"{arm}:{twin}" if twin else arm
                moved = fitted.direction(moving[chosen])
                for metric, values in _matches(unit_rows(moved), unit_rows(there)):
                    value, interval = feature_mean(values, evidence.seed)
                    yield evidence.metric(self, metric, name, value, interval, len(values), note, control=RANDOM_MAP)


def _alive_directions(whose: str, dictionary: Dictionary, rows: np.ndarray) -> Array:
    directions = dictionary.directions[alive(dictionary, rows)].astype(np.float64)
    if not len(directions):
        raise BridgeError(
            f"No feature of the {whose} dictionary fires on the {len(rows)} held-out rows.",
            cause="The dictionary belongs to another model or site, or needs activations on another scale.",
        )
    return directions


def _subsample(moving: Array, there: Array, seed: int) -> tuple[np.ndarray, str]:
    """Choose source features, and return a note about the comparison."""
    sizes = f"{len(moving)} alive source and {len(there)} alive destination features"
    if max(len(moving), len(there)) <= MOST:
        return np.arange(len(moving)), sizes
    count = min(MOST, len(moving))
    chosen = np.sort(np.random.default_rng(seed).choice(len(moving), count, replace=False))
    return chosen, f"{sizes}; {count} source features drawn by seed, too many for the assignment"


def _matches(moved: Array, there: Array) -> Iterator[tuple[str, Array]]:
    """Yield the name of each metric and its values, one per feature."""
    if max(len(moved), len(there)) > MOST:
        parts = chunks(len(moved), len(there))
        yield "decoder_match_max", np.concatenate([(moved[part] @ there.T).max(1) for part in parts])
        return
    from scipy.optimize import linear_sum_assignment

    cosines = moved @ there.T
    pairs = cosines[linear_sum_assignment(cosines, maximize=True)]
    yield "decoder_match_mean", pairs
    yield "decoder_match_above_half", (pairs > 0.5).astype(np.float64)
    yield "decoder_match_max", cosines.max(1)


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Register the matching of decoders."""
    register(DecoderMatch())
