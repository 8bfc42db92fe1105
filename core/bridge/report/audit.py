"""An audit on the terminal: one table a question, and what each number does and does not show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from bridge.metrics import Metric
from bridge.report.table import print_rows, say
from bridge.scorers import MAPPED

if TYPE_CHECKING:
    from bridge.pipeline.audit import Audit


@final
@dataclass(frozen=True)
class Question:
    """One table of an audit.

    Attributes:
        title: What is asked.
        metric: The number that answers it.
        reading: What it shows, and what it does not.
    """

    title: str
    metric: str
    reading: str


QUESTIONS = (
    Question(
        "Does the source's dictionary reconstruct the destination's activations? (EV on held-out rows)",
        "sae_ev",
        "self is the dictionary on its own model, the ceiling. raw is the dictionary straight on the other's rows: "
        "below 0 is worse than the mean. Read mapped against mispaired, the same map fitted on rows that do not belong "
        "together: it is far above 0, since a wrong frame whose widest directions line up is partly reconstructed. A "
        "high value shows that features carry over; not that they mean the same to the model.",
    ),
    Question(
        "Does the live model still predict with the reconstruction in place? (share of the loss recovered)",
        "loss_recovered",
        "1 is the model's own loss, 0 the loss with the site set to zero. native is the destination's own dictionary. "
        "It shows that what the model uses is kept; a site that matters little is high for any reconstruction.",
    ),
    Question(
        "Do features fire together? (mean Pearson r over alive features)",
        "firing_r",
        "Each feature on the source's row and on the destination's row of the same token. Chance is 0.",
    ),
    Question(
        "Do decoder directions match? (mean cosine of the best one-to-one match, alive features)",
        "decoder_match_mean",
        "Chance is random_map, not 0. Two dictionaries of one initialisation seed (same_init) match raw, without any "
        "map, because neither moved far from its start: read own_untrained_init. That match is no sign of shared "
        "features, and says nothing of whether the encoders read the same frame: see raw in the first table.",
    ),
    Question(
        "How far is the rotation from none? (||R - I||; a random one is sqrt(2d) away)",
        "rotation_distance",
        "A map fitted on mispaired rows is as far: distance from the identity is no evidence of a shared function.",
    ),
    Question(
        "Is the rotation like a random one? (calibrated p of its eigen-angles against Haar)",
        "rotation_haar_p",
        "Above 0.05 it cannot be told from a random rotation. mispaired cannot either: being like Haar shows only that "
        "the bases are unrelated, not that the models compute the same; that is what the first tables are for.",
    ),
)


def print_audit(audit: Audit) -> None:
    """Print every question whose metric was measured: a row for each target and site, a column for each arm."""
    for question in QUESTIONS:
        found = [metric for metric in audit.metrics if metric.name == question.metric]
        if found:
            _print_question(question, found)
    for record in audit.provenance:
        for scorer, error in record.get("failed_scorers", {}).items():
            say(f"The scorer {scorer} failed and is left out: {error}")


def _print_question(question: Question, metrics: Sequence[Metric]) -> None:
    arms = list(dict.fromkeys(metric.arm for metric in metrics))
    arms.sort(key=lambda arm: (arm != MAPPED, ":" in arm))
    pairs = list(dict.fromkeys((metric.src, metric.dst) for metric in metrics))
    cells = {(metric.src, metric.dst, metric.arm): metric for metric in metrics}
    rows = [[f"{src} -> {dst}", *(_cell(cells.get((src, dst, arm)), arm) for arm in arms)] for src, dst in pairs]
    print_rows(["pair", *arms], rows, title=question.title)
    say(question.reading + "\n")


def _cell(metric: Metric | None, arm: str) -> str:
    if metric is None:
        return "-"
    if arm == MAPPED and metric.low < metric.high:
        return f"{metric.value:.3f} [{metric.low:.3f}, {metric.high:.3f}]"
    return f"{metric.value:.3f}"
