"""Live activations on the terminal: how well each verbalizer reads them, in one table and a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.metrics import Metric
from bridge.report.table import say
from bridge.scorers import MAPPED, NATIVE, SELF

SCORERS = ("reading", "round_trip")


def print_readings(metrics: Sequence[Metric]) -> None:
    """Print the scores of readings, where there are any, and say what they show."""
    for sentence in reading_sentences(metrics):
        say(sentence)


def reading_sentences(metrics: Sequence[Metric]) -> list[str]:
    """Say how a borrowed verbalizer reads live activations, beside both models' own and the map's control."""
    found = {(metric.name, metric.arm): metric for metric in metrics if metric.scorer in SCORERS}
    lines = []
    for name, verb in (("topic_named", "names the topic of"), ("last_word", "ends in the last word of")):
        mapped = found.get((name, MAPPED))
        if not mapped:
            continue
        others = [
            f"{label} {found[name, arm].value:.0%}"
            for arm, label in (
                (NATIVE, "the source's own"),
                (SELF, "the destination's on itself"),
                ("mispaired", "mispaired"),
            )
            if (name, arm) in found
        ]
        lines.append(
            f"The borrowed verbalizer {verb} {mapped.value:.0%} of {mapped.n} live activations "
            f"[{mapped.low:.0%}, {mapped.high:.0%}] ({', '.join(others)})."
        )
    trip, own = found.get(("round_trip_fve", MAPPED)), found.get(("round_trip_fve", NATIVE))
    if trip:
        verdict = "more" if trip.low > 0 else "NOT more"
        beside = f", where the source's own gives back {own.value:.1%}" if own else ""
        lines.append(
            f"Its explanations give back {trip.value:.1%} [{trip.low:.1%}, {trip.high:.1%}] of the activations' "
            f"variance{beside}: {verdict} than the mean activation does."
        )
    return lines
