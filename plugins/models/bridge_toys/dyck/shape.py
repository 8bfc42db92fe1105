"""The sizes of a Dyck network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

from bridge_toys.dyck.language import MAX_DEPTH, MAX_TOKENS, VOCABULARY


@final
@dataclass(frozen=True)
class Shape:
    """Sizes of a network, under the names of its `config.json`.

    Attributes:
        d_model: Width of the residual stream.
        d_ff: Width of the MLPs.
        n_layers: Number of blocks.
        n_heads: Number of attention heads of a block, each of width `d_model / n_heads`.
        max_tokens: Number of positions.
        vocabulary: Number of tokens.
        depths: Number of classes of the depth head.
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
            KeyError: If a size is missing.
            TypeError: If a size is not a number.
            ValueError: If the sizes are invalid.
        """
        shape = cls(**{name: int(config[name]) for name in asdict(cls())})
        if min(asdict(shape).values()) < 1 or shape.d_model % shape.n_heads:
            raise ValueError("every size must be positive, and n_heads must divide d_model")
        return shape
