"""The network: a residual stream, and in every block a gated linear recurrence in the place of attention."""

from __future__ import annotations

from typing import NamedTuple, final

import torch
from torch import Tensor, nn

from bridge_recurrent.checkpoint import Shape
from bridge_recurrent.tokenizer import VOCABULARY


class Output(NamedTuple):
    """What a forward pass returns: logits of the next token, (batch, tokens, vocabulary)."""

    logits: Tensor


@final
class Recurrence(nn.Module):
    """h_t = a_t h_{t-1} + (1 - a_t) v_t, read through a gate: (batch, tokens, d_model) to the same.

    How much of its state a channel keeps, a_t = sigmoid(A x_t + b), depends on the token that is read: a selective
    state-space layer whose state has one dimension a channel. At first, channels remember from 2 to 150 tokens.

    Source: Qin et al., "Hierarchically Gated Recurrent Neural Network for Sequence Modeling" (arXiv 2311.04823), in
    real numbers and without a lower bound of the decay; Feng et al., "Were RNNs All We Needed?" (arXiv 2410.01201).
    """

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.keep = nn.Linear(d_model, d_model)
        self.value, self.gate, self.out = (nn.Linear(d_model, d_model, bias=False) for _ in range(3))
        with torch.no_grad():
            self.keep.bias.copy_(torch.linspace(0.0, 5.0, d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Walk through the tokens, left to right."""
        # float32 throughout: bfloat16 cannot tell 0.999 from 1, and a state sums over all tokens.
        keep = torch.sigmoid(self.keep(x).float())
        taken = (1 - keep) * self.value(x).float()
        state, states = torch.zeros_like(taken[:, 0]), []
        for kept, added in zip(keep.unbind(1), taken.unbind(1), strict=True):
            state = kept * state + added
            states.append(state)
        read: Tensor = self.out(torch.stack(states, dim=1).to(x.dtype) * nn.functional.silu(self.gate(x)))
        return read


@final
class Block(nn.Module):
    """The recurrence and an MLP, each reading a normed stream: (batch, tokens, d_model) to the same."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.recurrence_norm, self.mlp_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.recurrence = Recurrence(d_model)
        self.mlp = nn.Sequential(nn.Linear(d_model, 4 * d_model), nn.GELU(), nn.Linear(4 * d_model, d_model))

    def forward(self, x: Tensor) -> Tensor:
        """Add the recurrence, then the MLP."""
        x = x + self.recurrence(self.recurrence_norm(x))
        added: Tensor = x + self.mlp(self.mlp_norm(x))
        return added


@final
class Network(nn.Module):
    """Embeddings, blocks, a norm and a head; no positions, which a recurrence counts itself.

    Args:
        shape: Its sizes.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(VOCABULARY, shape.d_model)
        self.blocks = nn.ModuleList(Block(shape.d_model) for _ in range(shape.n_layers))
        self.norm = nn.LayerNorm(shape.d_model)
        self.head = nn.Linear(shape.d_model, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Output:
        """Read token ids, (batch, tokens) int64."""
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)
        return Output(self.head(self.norm(x)))
