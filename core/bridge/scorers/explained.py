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
"""Embeds texts: n strings -> (n, k) float32 of unit norm; equal meanings point the same way."""


@final
@dataclass(frozen=True)
class Explained:
    """What verbalizers say of the same directions, under one washout.

    Attributes:
        names: What each direction is, n strings.
        native: What the source's own verbalizer says of each.
        foreign: By arm, what the destination's verbalizer says: of the directions moved by each map (`mapped`,
            `mispaired`, `random_map`), and of as many random directions moved by the fitted map (`random_direction`).
        topics: For each the topic that has more than half of its activity on the training documents, or empty; no
            strings at all where the corpus has no topics.
    """

    names: Sequence[str]
    native: Sequence[Explanation]
    foreign: Mapping[str, Sequence[Explanation]]
    topics: Sequence[str] = ()


@final
@dataclass(frozen=True)
class ArmExplanations:
    """What one verbalizer says of live activations, and what is reconstructed from them.

    Attributes:
        explanations: One explanation a position.
        truth: The activations that it is about, (n, d_model) float32: the source's, but for the arm `self`.
        rebuilt: What the explanations stand for, by the verbalizer's reconstructor and, of a foreign one, the map
            back; of the shape of `truth`. None without a reconstructor.
        mean: Mean of the training activations of the model that `truth` is of, (d_model,) float64.
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
    """What verbalizers say of live activations at the same positions of held-out documents.

    Attributes:
        texts: The text up to and with the token of each position, n strings; each ends with a whole word.
        topics: What each position's document is about, n strings; empty where the corpus does not say.
        document: Index of each position's document group, (n,) int64.
        arms: `native`: the source's verbalizer on the source's activations. `self`: the destination's on the
            destination's. Those of the maps: the destination's on the source's activations, moved.
    """

    texts: Sequence[str]
    topics: Sequence[str]
    document: NDArray[np.int64]
    arms: Mapping[str, ArmExplanations]
