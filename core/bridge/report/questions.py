"""What an audit asks, which number answers, and what that number does and does not show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from bridge.metrics import Metric


@final
@dataclass(frozen=True)
class Question:
    """One table of an audit.

    Attributes:
        title: What is asked.
        metric: The number that answers it.
        reading: What it shows, and what it does not.
        of_twins: Whether the answer is how the controls of another dictionary (`mapped:NAME`) score.
    """

    title: str
    metric: str
    reading: str
    of_twins: bool = False

    def asks(self, metric: Metric) -> bool:
        """Tell whether a metric is part of the answer."""
        return metric.name == self.metric and (":" in metric.arm) == self.of_twins


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
        "Chance is random_map, not 0. A match says nothing of whether the encoders read the same frame: see raw in the "
        "first table.",
    ),
    Question(
        "Would the decoders match without any training in common? (the same mean cosine, against other dictionaries)",
        "decoder_match_mean",
        "own_untrained_init is the random start of the source's dictionary; same_init a dictionary of the destination "
        "from the same start. It matches raw, without any map, because neither moved far: no sign of shared features.",
        of_twins=True,
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
