"""Background washout: a bare direction is unlike all training inputs of a verbalizer, so it is shown in a background.

A verbalizer falls back on its habits if a vector has little content. Each strategy puts the direction into a background
of whole activations; `contrast` also subtracts the effect of the background alone (shared design, section 3,
"Background washout").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import UsageError
from bridge.verbalizers.contract import Blends, Explanation, Verbalizer, check_vectors

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Background:
    """Whole activations of the model that a verbalizer reads.

    Attributes:
        mean: Mean of the training rows, (d_model,) float32.
        rows: A sample of the training rows, drawn with a seed, (n, d_model) float32.
    """

    mean: Floats
    rows: Floats


@final
@dataclass(frozen=True)
class Washout:
    """The way a direction is shown to a verbalizer.

    Attributes:
        strategy: `none`: the direction alone. `mean`: added to the mean activation. `blend`: added to several real
            activations, read together. `contrast`: as `mean` or `blend`, minus the effect of the backgrounds alone.
        strength: Multiple of the direction that is added.
        backgrounds: Number of backgrounds; 1 is the mean activation, more are real activations.
        beta: Factor of the log-probabilities that `contrast` subtracts.
    """

    strategy: Literal["none", "mean", "blend", "contrast"] = "contrast"
    strength: float = 3.0
    backgrounds: int = 1
    beta: float = 0.8

    def explain(self, verbalizer: Verbalizer, directions: Floats, background: Background) -> list[Explanation]:
        """Explain directions, (n, d_model) float32, each with the length of its contribution where it is most active.

        Args:
            verbalizer: The verbalizer.
            directions: (n, d_model) float32.
            background: Whole activations of the verbalizer's model, as backgrounds.

        Returns:
            One explanation per direction, in the order of the directions.

        Raises:
            UsageError: If the strategy is `contrast` and the verbalizer does not decode token by token.
            ShapeError: If the directions have another width than the verbalizer reads.
            BridgeError: If a direction is zero or not finite, or there are fewer background rows than asked for.
        """
        check_vectors(directions, verbalizer.d_model)
        if self.strategy == "none":
            return verbalizer.explain(directions)
        alone = self._backgrounds(background)
        vectors = alone[None] + np.float32(self.strength) * directions[:, None]
        beta = self.beta if self.strategy == "contrast" else 0.0
        return verbalizer.explain_blends(Blends(vectors.astype(np.float32), alone, beta))

    @property
    def sequences(self) -> int:
        """Return the number of sequences per direction: see `Verbalizer.at_once`."""
        blends = self.backgrounds if self.strategy in ("blend", "contrast") else 1
        return 2 * blends if self.strategy == "contrast" and self.beta else blends

    def _backgrounds(self, background: Background) -> Floats:
        if self.strategy == "mean" or self.backgrounds == 1:
            return background.mean[None]
        if len(background.rows) < self.backgrounds:
            raise UsageError(
                f"The washout needs {self.backgrounds} background activations, and there are {len(background.rows)}."
            )
        return background.rows[: self.backgrounds]
