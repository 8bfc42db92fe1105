"""A linear layer with low-rank products beside it, of which one takes part at a time."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn


@final
class LowRank(nn.Module):
    """x -> layer(x) + x A^T B^T, where A and B are of the adapter that is in use.

    The products are in float32, whatever the model's dtype, as peft has them; they are added in the model's.

    Args:
        layer: The linear layer, which stays as it is.

    Source: Hu et al., "LoRA" (2021), arXiv 2106.09685, equation 3.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.pairs: dict[str, tuple[Tensor, Tensor]] = {}
        self.used: tuple[Tensor, Tensor] | None = None

    def add(self, name: str, a: Tensor, b: Tensor, scale: float) -> None:
        """Keep an adapter under a name, beside the layer's weight: A (rank, d_in), B (d_out, rank)."""
        device = next(self.layer.parameters()).device
        # Turned round once: a product with a turned matrix is slower for few rows.
        turned = a.to(device, torch.float32).T.contiguous(), (b.to(device, torch.float32) * scale).T.contiguous()
        self.pairs[name] = turned

    def use(self, name: str) -> None:
        """Let one adapter take part, or none where there is none of this name."""
        self.used = self.pairs.get(name)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Run the layer, and what is beside it."""
        found: Tensor = self.layer(x, *args, **kwargs)
        if self.used is None:
            return found
        a, b = self.used
        beside = x.to(torch.float32).reshape(-1, x.shape[-1]) @ a
        if found.dtype == torch.float32 and found.is_contiguous():
            # The layer's output is nobody else's yet: the product is added in place, without another tensor.
            found.view(-1, found.shape[-1]).addmm_(beside, b)
            return found
        return found + (beside @ b).view(found.shape).to(found.dtype)

    @property
    def weight(self) -> Tensor:
        """The layer's own weight: some models look at its dtype."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return weight
