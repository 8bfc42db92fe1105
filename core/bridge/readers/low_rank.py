"""A linear layer with several low-rank adapters, of which at most one is active."""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn


@final
class LowRank(nn.Module):
    """x -> layer(x) + x A^T B^T with the matrices A and B of the active adapter.

    The products are computed in float32 for every dtype of the model, as in peft, and added in the model's dtype.

    Args:
        layer: The linear layer; it is not changed.

    Source: Hu et al., "LoRA" (2021), arXiv 2106.09685, equation 3.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.pairs: dict[str, tuple[Tensor, Tensor]] = {}
        self.used: tuple[Tensor, Tensor] | None = None

    def add(self, name: str, a: Tensor, b: Tensor, scale: float) -> None:
        """Store an adapter under a name: A (rank, d_in), B (d_out, rank)."""
        device = next(self.layer.parameters()).device
        # Transposed once: a product with a transposed matrix is slower for few rows.
        turned = a.to(device, torch.float32).T.contiguous(), (b.to(device, torch.float32) * scale).T.contiguous()
        self.pairs[name] = turned

    def use(self, name: str) -> None:
        """Activate the adapter with this name, or none if the layer has no such adapter."""
        self.used = self.pairs.get(name)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Return the output of the layer plus that of the active adapter."""
        found: Tensor = self.layer(x, *args, **kwargs)
        if self.used is None:
            return found
        a, b = self.used
        beside = x.to(torch.float32).reshape(-1, x.shape[-1]) @ a
        if found.dtype == torch.float32 and found.is_contiguous():
            # The output of the layer is not used elsewhere yet, so the product can be added in place.
            found.view(-1, found.shape[-1]).addmm_(beside, b)
            return found
        return found + (beside @ b).view(found.shape).to(found.dtype)

    @property
    def weight(self) -> Tensor:
        """The weight of the layer: some models read its dtype."""
        weight: Tensor = self.layer.weight  # type: ignore[assignment]
        return weight
