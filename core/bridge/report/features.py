"""Explained features on the terminal: what both verbalizers say of the same ones, and what that shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bridge.metrics import Metric
from bridge.report.table import print_rows, say
from bridge.scorers import MAPPED, NATIVE

if TYPE_CHECKING:
    from bridge.pipeline.verbalize.features import ExplainedFeatures

SHOWN = 8
WIDTH = 100
"""Characters of a text on the terminal; the report has all of it."""

FLAGGED = 0.1
"""Share of flagged or repeated texts above which the reader is warned."""


def print_features(lines: ExplainedFeatures, metrics: Sequence[Metric]) -> None:
    """Print some features under the run's own washout, and say in words what the scores of the texts show."""
    washout, explained = next(iter(lines.explained.items()))
    rows = [
        [str(number), _short(explained.native[row].text), _short(explained.foreign[MAPPED][row].text)]
        for row, number in enumerate(lines.features.numbers[:SHOWN])
    ]
    count = len(lines.features.numbers)
    print_rows(
        ["feature", "the source's own verbalizer", "the destination's, through the map"],
        rows,
        title=f"{min(SHOWN, count)} of {count} features, drawn by seed; washout {washout}",
    )
    for sentence in explanation_sentences(metrics):
        say(sentence)


def _short(text: str) -> str:
    one_line = " ".join(text.split())
    return one_line if len(one_line) <= WIDTH else f"{one_line[:WIDTH]}…"


def explanation_sentences(metrics: Sequence[Metric]) -> list[str]:
    """Say whether explanations come across, and what is wrong with the texts."""
    found = {(metric.name, metric.arm): metric for metric in metrics if metric.scorer == "lift"}
    lift, p = found.get(("lift", MAPPED)), found.get(("permutation_p", MAPPED))
    if not lift or not p:
        return []
    mispaired, first = found.get(("lift", "mispaired")), found[("explanation_retrieval@1", MAPPED)]
    verdict = (
        "come across" if lift.low > max(0.0, mispaired.high if mispaired else 0.0) else "do NOT clearly come across"
    )
    control = f" (through a map fitted on mispaired rows: {mispaired.value:+.3f})" if mispaired else ""
    lines = [
        f"Explanations {verdict}: they are {lift.value:+.3f} [{lift.low:+.3f}, {lift.high:+.3f}] closer in cosine to "
        f"the source's own than texts of random directions are{control}; {first.value:.0%} find their own feature "
        f"among {first.n}; permutation p {p.value:.4f}."
    ]
    for arm, whose in ((NATIVE, "The source's own"), (MAPPED, "The borrowed")):
        flagged, distinct = found[("flagged", arm)].value, found[("distinct", arm)].value
        if flagged > FLAGGED or distinct < 1 - FLAGGED:
            lines.append(
                f"{whose} explanations: {flagged:.0%} are flagged, {distinct:.0%} are distinct. Read some of them."
            )
    return lines
