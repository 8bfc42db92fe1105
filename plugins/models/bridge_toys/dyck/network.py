"""The toy model of arXiv 2605.24577 in plain torch."""

from __future__ import annotations

from typing import NamedTuple, final

from torch import Tensor, nn
from torch.nn import functional

from bridge_toys.dyck.shape import Shape


class Output(NamedTuple):
    """The outputs of the three heads for every prefix.

    Attributes:
        logits: Logits of the next token, (batch, tokens, vocabulary).
        depth: Logits of the number of open brackets, (batch, tokens, depths).
        validity: Logits of illegal and legal prefixes, (batch, tokens, 2).
    """

    logits: Tensor
    depth: Tensor
    validity: Tensor


@final
class Attention(nn.Module):
    """Causal multi-head attention without biases: (batch, tokens, d_model) to the same shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.n_heads = shape.n_heads
        self.q, self.k, self.v, self.o = (nn.Linear(shape.d_model, shape.d_model, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """Attend to this and earlier tokens."""
        batch, tokens, width = x.shape
        q, k, v = (part(x).view(batch, tokens, self.n_heads, -1).transpose(1, 2) for part in (self.q, self.k, self.v))
        read = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(read.transpose(1, 2).reshape(batch, tokens, width))  # type: ignore[no-any-return]


@final
class Block(nn.Module):
    """Attention and a ReLU MLP, each on the normalised stream: (batch, tokens, d_model) to the same shape."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = (_norm(shape) for _ in range(2))
        self.attention = Attention(shape)
        self.mlp = nn.Sequential(
            nn.Linear(shape.d_model, shape.d_ff, bias=False),
            nn.ReLU(),
            nn.Linear(shape.d_ff, shape.d_model, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Add attention, then the MLP."""
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))  # type: ignore[no-any-return]


def _norm(shape: Shape) -> nn.RMSNorm:
    # No gains: the next matrices can absorb them, and a gain would prefer the axes of the basis. The default epsilon
    # depends on the dtype, and for bfloat16 it is larger than the squares of the stream.
    return nn.RMSNorm(shape.d_model, eps=1e-6, elementwise_affine=False)


@final
class Network(nn.Module):
    """Embeddings of tokens and positions, blocks, a norm, and three heads.

    Args:
        shape: Its sizes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocabulary, shape.d_model)
        self.positions = nn.Embedding(shape.max_tokens, shape.d_model)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.n_layers))
        self.norm = _norm(shape)
        self.next, self.depth, self.validity = (
            nn.Linear(shape.d_model, size, bias=False) for size in (shape.vocabulary, shape.depths, 2)
        )

    def forward(self, ids: Tensor) -> Output:
        """Read token ids, (batch, tokens) int64."""
        x = self.tokens(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return Output(self.next(x), self.depth(x), self.validity(x))


def frame(network: Network) -> dict[str, nn.Parameter]:
    """Return the input and output weights by name: all parameters outside the blocks."""
    return {name: weight for name, weight in network.named_parameters() if not name.startswith("blocks.")}
