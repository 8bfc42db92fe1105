"""The sizes of a Dyck network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

from bridge_toys.dyck.language import MAX_DEPTH, MAX_TOKENS, VOCABULARY


@final
@dataclass(frozen=True)
class Shape:
    """Sizes of a network, under the names that its `config.json` uses.

    Attributes:
        d_model: Width of the residual stream.
        d_ff: Width of the MLPs.
        n_layers: Number of blocks.
        n_heads: Attention heads of a block; they share `d_model`.
        max_tokens: How many positions there are.
        vocabulary: How many tokens there are.
        depths: How many classes the depth head tells apart.
    """

    d_model: int = 64
    d_ff: int = 256
    n_layers: int = 2
    n_heads: int = 4
    max_tokens: int = MAX_TOKENS
    vocabulary: int = len(VOCABULARY)
    depths: int = MAX_DEPTH + 1

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read the sizes from a configuration.

        Raises:
            KeyError: If one is missing.
            TypeError: If one is no number.
            ValueError: If they make no network.
        """
        shape = cls(**{name: int(config[name]) for name in asdict(cls())})
        if min(asdict(shape).values()) < 1 or shape.d_model % shape.n_heads:
            raise ValueError("every size must be positive, and n_heads must divide d_model")
        return shape
