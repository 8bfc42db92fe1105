"""The share of features whose explanations name their topic, for corpora with topics."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import final

import numpy as np

from bridge.hookspecs import hookimpl
from bridge.metrics import Metric
from bridge.scorers import MISPAIRED, NATIVE, Evidence, Need, Scorer
from bridge_scorers.measures import of_features
from bridge_scorers.shares import feature_mean


@final
class Topics(Scorer):
    """The share of features whose explanation contains the word of their topic, which is a known ground truth.

    The topic of a feature is the topic with more than half of its activity on the training documents. Features without
    a topic are left out; a corpus without topics gives no numbers. Metrics of all washouts but the first have the
    suffix `@WASHOUT`; intervals resample features.
    """

    name = "topics"
    summary = "Whether explanations of features name the topic of the texts where they are active."
    needs = frozenset({Need.EXPLANATIONS})
    measures = (
        of_features("feature_topic_named", "texts that name the topic of their feature", "share", 18, headline=True),
    )

    def score(self, evidence: Evidence) -> Iterable[Metric]:
        """Score every washout and arm."""
        for position, (washout, explained) in enumerate(evidence.explained.items()):
            known = [index for index, topic in enumerate(explained.topics) if topic]
            if not known:
                continue
            count = len({explained.topics[index] for index in known})
            note = f"{len(known)} of {len(explained.native)} features have a topic; {count} topics"
            name = "feature_topic_named" + (f"@{washout}" if position else "")
            for arm, said in {NATIVE: explained.native, **explained.foreign}.items():
                hits = np.array([names_topic(said[i].text, explained.topics[i]) for i in known], dtype=np.float64)
                interval = feature_mean(hits, evidence.seed)
                yield evidence.metric(self, name, arm, *interval, len(known), note, MISPAIRED)


def names_topic(said: str, topic: str) -> bool:
    """Tell whether a text contains a topic's word as a whole word, ignoring case."""
    return bool(topic) and re.search(rf"(?<!\w){re.escape(topic)}(?!\w)", said, re.IGNORECASE) is not None


@hookimpl
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer topics."""
    register(Topics())
