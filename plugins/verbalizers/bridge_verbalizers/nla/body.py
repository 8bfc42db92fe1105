"""The body of a causal language model: its blocks without head and final norm, read at the last token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bridge.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
"""What architectures call it."""


def decoder(module: Any) -> Any:
    """Return the part of a causal language model that holds blocks and final norm, inside or outside a wrapper."""
    body = module.base_model
    return getattr(body, "language_model", body)


def remove_final_norm(module: Any) -> None:
    """Make a causal language model of transformers end with what its last block adds to the stream, in place.

    Raises:
        ModelError: If its final norm has no known name.
    """
    import torch

    body = decoder(module)
    name = next((name for name in FINAL_NORMS if hasattr(body, name)), None)
    if name is None:
        raise ModelError(f"{type(body).__name__} has no final norm called {' or '.join(FINAL_NORMS)}.")
    setattr(body, name, torch.nn.Identity())


def last_hidden(module: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return what the body says at each prompt's last token, (prompts, d_model), in the model's dtype."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one in prompts], device=module.device)
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in prompts], device=module.device)
    hidden = module.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    found: Tensor = hidden[range(len(prompts)), [len(one) - 1 for one in prompts]]
    return found
