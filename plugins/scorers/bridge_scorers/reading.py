"""Agreement of explanations of live activations with the text before them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import Evidence, Need, Scorer
from bridge_scorers.flags import described
from bridge_scorers.measures import of_readings
from bridge_scorers.pairing import over_others, ranks
from bridge_scorers.sentences import beside_others, by_arm
from bridge_scorers.shares import Array, document_mean
from bridge_scorers.similarity import embed
from bridge_scorers.topics import names_topic

CHARACTERS = 70


@final
class Reading(Scorer):
    """Explanations of live activations against the text before each: its last 70 characters, and its topic.

    With E_ij the cosine between the embeddings of the explanation of position i and of the text before position j:

    - `reading_match`: mean E_ii. Compare it with `reading_specific` = mean E_ii - mean_{i != j} E_ij: any two texts of
      one corpus are similar.
    - `reading_retrieval@1`: whether the explanation is nearest to its own text, among all; ties count against it.
    - `last_word`: whether the explanation ends in the last word of the text.
    - `topic_named`: whether the explanation contains the word of its document's topic, if documents have topics.

    `self`, the destination's verbalizer on the destination itself, is the score of a perfect map. Intervals are 95%
    percentile intervals of 1,000 resamples of documents.
    """

    name = "reading"
    summary = "Agreement of explanations of live activations with the text before them and its topic."
    needs = frozenset({Need.READINGS})
    measures = (
        of_readings("topic_named", "readings that name the topic of their text", "share", 10),
        of_readings("reading_match", "mean cosine of a reading and the text before it", "cosine", 11),
        of_readings("reading_specific", "the same, minus texts before other activations", "cosine", 12),
        of_readings("reading_retrieval@1", "readings that find their own text first", "share", 13),
        of_readings("last_word", "readings that end in the last word of the text", "share", 14),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Score every reader."""
        readings, judge = evidence.readings, evidence.judge
        assert readings is not None and judge is not None, "the runtime hands both out"
        n, tails = len(readings.texts), [text[-CHARACTERS:] for text in readings.texts]
        texts = embed(judge, tails)
        for arm, reading in readings.arms.items():
            explained = [one.text for one in reading.explanations]
            similarity = embed(judge, explained).similarity(texts)
            found = ranks(similarity.T)
            values: dict[str, tuple[Array, str]] = {
                "reading_match": (similarity.diagonal(), ""),
                "reading_specific": (over_others(similarity), ""),
                "reading_retrieval@1": ((found == 1).astype(np.float64), f"chance {1 / n:.4f}"),
                "last_word": (_hits(map(_same_end, explained, tails)), ""),
            }
            if any(readings.topics):
                count = len(set(readings.topics))
                hits = _hits(map(names_topic, explained, readings.topics))
                values["topic_named"] = (hits, f"{count} topics: chance about {1 / count:.3f}")
            for name, (each, note) in values.items():
                notes = "; ".join(part for part in (note, described(reading.explanations)) if part)
                yield evidence.metric(self, name, arm, *document_mean(each, readings.document, evidence.seed), n, notes)

    def sentences(self, metrics: Sequence[Metric]) -> list[str]:
        """Describe how well a foreign verbalizer explains live activations."""
        found = by_arm(metrics)
        topics = beside_others(found, "topic_named", "names the topic of")
        return topics + beside_others(found, "last_word", "ends in the last word of")


def _hits(found: Iterable[bool]) -> Array:
    return np.array(list(found), dtype=np.float64)


def _same_end(explained: str, text: str) -> bool:
    return _last_word(explained) == _last_word(text) != ""


def _last_word(text: str) -> str:
    words: Sequence[str] = re.findall(r"\w+", text.lower())
    return words[-1] if words else ""


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer reading."""
    register(Reading())
