"""The table of features: what both verbalizers say of each, and how well that matches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from bridge.pipeline.verbalize.records import ContextRecord, FeatureRecord
from bridge.report.html.inputs import Matrix
from bridge.scorers import MAPPED
from bridge.verbalizers import Explanation


@final
@dataclass(frozen=True)
class Feature:
    """One row.

    Attributes:
        number: In the dictionary.
        native: What the source's own verbalizer says.
        foreign: What the destination's says, through the map.
        flags: What is wrong with the two texts, and with whose.
        similarity: Of the two texts; None where it was not scored.
        rank: How many native texts are as similar to the foreign one as its own, itself included; None likewise.
        others: Washout, arm and text of everything else that was said of it.
        topic: What most of the text is about where it is active; empty where that is unknown.
        contexts: Passages where it is active, cut into pieces: text, and how active it is on it, 0 to 1.
    """

    number: int
    native: str
    foreign: str
    flags: Sequence[str]
    similarity: float | None
    rank: int | None
    others: Sequence[tuple[str, str, Explanation]]
    topic: str
    contexts: Sequence[Sequence[tuple[str, float]]]


def features(
    said: Mapping[str, Sequence[FeatureRecord]],
    similarity: Mapping[tuple[str, str], Matrix],
    where: Mapping[int, ContextRecord],
) -> list[Feature]:
    """Make a row a feature; the run's own washout, the first, is the one in the columns."""
    own = next(iter(said))
    matrix = similarity.get((own, MAPPED))
    return [_feature(row, said, matrix, where.get(one.feature)) for row, one in enumerate(said[own])]


def _feature(
    row: int, said: Mapping[str, Sequence[FeatureRecord]], matrix: Matrix | None, where: ContextRecord | None
) -> Feature:
    own = next(iter(said))
    one = said[own][row]
    mapped = one.foreign[MAPPED]
    flags = [f"{whose}: {flag}" for whose, text in (("native", one.native), ("foreign", mapped)) for flag in text.flags]
    others = [
        (washout, arm, text)
        for washout, some in said.items()
        for arm, text in {"native": some[row].native, **some[row].foreign}.items()
        if washout != own or arm not in ("native", MAPPED)
    ]
    similarity = None if matrix is None else float(matrix[row, row])
    rank = None if matrix is None else int((matrix[:, row] >= matrix[row, row]).sum())
    texts = one.native.text, mapped.text
    topic, contexts = (where.topic, _pieces(where)) if where else ("", [])
    return Feature(one.feature, *texts, flags, similarity, rank, others, topic, contexts)


def _pieces(where: ContextRecord) -> list[list[tuple[str, float]]]:
    largest = max((value for context in where.contexts for _, _, value in context.spans), default=1.0)
    found = []
    for context in where.contexts:
        pieces, at = [], 0
        for start, end, value in context.spans:
            pieces += [(context.text[at:start], 0.0), (context.text[start:end], value / largest)]
            at = end
        found.append([piece for piece in (*pieces, (context.text[at:], 0.0)) if piece[0]])
    return found
