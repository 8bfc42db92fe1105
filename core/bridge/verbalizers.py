"""The contract of verbalizer plugins: from activation vectors to text, and back where a reconstructor exists."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError


@final
@dataclass(frozen=True)
class Explanation:
    """What a verbalizer says of one vector.

    Attributes:
        text: The explanation; untrusted, since a model wrote it.
        flags: What is wrong with it (`truncated`, `empty`), so that scores can leave it out knowingly.
    """

    text: str
    flags: tuple[str, ...] = ()


class Verbalizer(ABC):
    """Explains vectors of one model at one site.

    Laws, checked by `bridge.testing.check_verbalizer`:
        - One explanation a vector, in order; the same vectors give the same explanations.
        - Vectors of another width are refused with a `ShapeError`.
    """

    name: ClassVar[str]
    """Unique among installed verbalizers."""

    summary: ClassVar[str]
    """One line: how it explains."""

    d_model: int
    """Width of the vectors it reads."""

    @abstractmethod
    def explain(self, vectors: NDArray[np.float32]) -> list[Explanation]:
        """Explain vectors of shape (n, d_model), float32.

        Raises:
            ShapeError: If the vectors have another width.
        """

    def reconstruct(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the activations that texts stand for, (n, d_model) float32.

        Raises:
            BridgeError: If this verbalizer has no activation reconstructor.
        """
        raise BridgeError(f"The verbalizer {self.name} has no activation reconstructor.")
