"""What verbalizers say of directions and activations, and what embeds it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.verbalizers import Explanation

Judge = Callable[[Sequence[str]], NDArray[np.float32]]
"""Embeds texts: n strings -> (n, k) float32 of unit norm; similar meanings have a high cosine."""


@final
@dataclass(frozen=True)
class Explained:
    """Explanations of the same directions by both verbalizers, with one washout.

    Attributes:
        names: Name of each direction, n strings.
        native: The source verbalizer's explanation of each direction.
        foreign: The destination verbalizer's explanations, by arm: of the directions moved by each map (`mapped`,
            `mispaired`, `random_map`), and of as many random directions moved by the fitted map (`random_direction`).
        topics: For each direction the topic with more than half of its activity on the training documents, or an empty
            string; an empty sequence if the corpus has no topics.
    """

    names: Sequence[str]
    native: Sequence[Explanation]
    foreign: Mapping[str, Sequence[Explanation]]
    topics: Sequence[str] = ()


@final
@dataclass(frozen=True)
class ArmExplanations:
    """Explanations of live activations by one verbalizer, and the activations reconstructed from them.

    Attributes:
        explanations: One explanation per position.
        truth: The explained activations, (n, d_model) float32: the destination's for the arm `self`, else the source's.
        rebuilt: The activations reconstructed from the explanations, in the shape of `truth`, by the verbalizer's
            reconstructor and, for a foreign verbalizer, the reverse map. None without a reconstructor.
        mean: Mean training activation of the model of `truth`, (d_model,) float64.
    """

    explanations: Sequence[Explanation]
    truth: NDArray[np.float32]
    rebuilt: NDArray[np.float32] | None
    mean: NDArray[np.float64]

    @property
    def said(self) -> Sequence[Explanation]:
        """The old name of `explanations`."""
        warnings.warn("ArmExplanations.said is now ArmExplanations.explanations.", DeprecationWarning, stacklevel=2)
        return self.explanations


@final
@dataclass(frozen=True)
class ExplainedActivations:
    """Explanations of live activations at the same positions of held-out documents.

    Attributes:
        texts: The text up to and including the token of each position, n strings; each ends with a whole word.
        topics: Topic of each position's document, n strings; empty strings if the corpus has no topics.
        document: Index of each position's document group, (n,) int64.
        arms: `native`: the source's verbalizer on the source's activations. `self`: the destination's verbalizer on the
            destination's activations. Arms of maps: the destination's verbalizer on the moved source activations.
    """

    texts: Sequence[str]
    topics: Sequence[str]
    document: NDArray[np.int64]
    arms: Mapping[str, ArmExplanations]
