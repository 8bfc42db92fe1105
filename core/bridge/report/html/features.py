"""The table of features: the texts of both verbalizers, their similarity, and the feature's contexts."""

from __future__ import annotations

from typing import Any

from bridge.pipeline.jobs.results import Matrix, RunFiles
from bridge.pipeline.verbalize.records import ContextRecord
from bridge.scorers import MAPPED, NATIVE


def features(run: RunFiles) -> dict[str, Any]:
    """Make one row per feature; the columns show the run's first washout."""
    own = next(iter(run.explanations))
    matrix = run.similarity(own, MAPPED)
    rows = [_feature(run, own, at, matrix) for at in range(len(run.explanations[own]))]
    topics = any(row["topic"] for row in rows)
    return {"washout": own, "features": rows, "scored": matrix is not None, "topics": topics}


def _feature(run: RunFiles, own: str, at: int, matrix: Matrix | None) -> dict[str, Any]:
    one = run.explanations[own][at]
    texts = {washout: {NATIVE: some[at].native, **some[at].foreign} for washout, some in run.explanations.items()}
    native, foreign = texts[own].pop(NATIVE), texts[own].pop(MAPPED)
    where = run.contexts.get(one.feature)
    return {
        "number": one.feature,
        "native": native.text,
        "foreign": foreign.text,
        "flags": [f"{whose}: {f}" for whose, text in (("native", native), ("foreign", foreign)) for f in text.flags],
        "others": [(washout, arm, text) for washout, some in texts.items() for arm, text in some.items()],
        "similarity": None if matrix is None else float(matrix[at, at]),
        # Number of native texts at least as similar to the foreign text as its own native text, which is counted.
        "rank": None if matrix is None else int((matrix[:, at] >= matrix[at, at]).sum()),
        "topic": where.topic if where else "",
        "contexts": _pieces(where) if where else [],
    }


def _pieces(where: ContextRecord) -> list[list[tuple[str, float]]]:
    """Split passages into pieces: text, and the feature's activation on the text, 0 to 1."""
    largest = max((value for context in where.contexts for *_, value in context.spans), default=1.0)
    found = []
    for context in where.contexts:
        pieces, at = [], 0
        for start, end, value in context.spans:
            pieces += [(context.text[at:start], 0.0), (context.text[start:end], value / largest)]
            at = end
        found.append([piece for piece in (*pieces, (context.text[at:], 0.0)) if piece[0]])
    return found
