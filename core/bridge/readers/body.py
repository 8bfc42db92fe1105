"""The body of a causal language model: its blocks without head and final norm, read at the last token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
BLOCKS = ("layers", "h")
HEADS = ("lm_head", "embed_out")
"""What architectures call them."""


def decoder(module: Any) -> Any:
    """Return the part of a causal language model that holds blocks and final norm, inside or outside a wrapper."""
    body = module.base_model
    return getattr(body, "language_model", body)


def truncate(module: Any, count: int) -> None:
    """Cut a causal language model of transformers after its first blocks, in place, and take out its final norm.

    Raises:
        ModelError: If its blocks or its final norm have no known name.
    """
    body, config = decoder(module), module.config.get_text_config()
    name = _named(body, BLOCKS, "blocks")
    setattr(body, name, getattr(body, name)[:count])
    remove_final_norm(module)
    config.num_hidden_layers = count
    # What configurations say of each block: GPT-Neo derives its second list from pairs of kinds and counts.
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]
    if getattr(config, "attention_types", None):
        config.attention_layers = config.attention_layers[:count]
        config.attention_types = [[[kind], 1] for kind in config.attention_layers]


def remove_final_norm(module: Any) -> None:
    """Make a causal language model of transformers end with what its last block adds to the stream, in place.

    Raises:
        ModelError: If its final norm has no known name.
    """
    import torch

    body = decoder(module)
    setattr(body, _named(body, FINAL_NORMS, "final norm"), torch.nn.Identity())


def _named(body: Any, names: Sequence[str], what: str) -> str:
    found = next((name for name in names if hasattr(body, name)), None)
    if found is None:
        raise ModelError(f"{type(body).__name__} has no {what} called {' or '.join(names)}.")
    return found


@final
class _ReachedError(Exception):
    """A forward pass came to the block that is read; what comes after is not needed."""


def hidden_after(module: Any, prompts: Sequence[Sequence[int]], block: int | None, bare: bool) -> Tensor:
    """Return what a block says at each prompt's last token, (prompts, d_model), without running what comes after.

    Args:
        module: A causal language model of transformers, whole.
        prompts: Ids of each.
        block: Which block, counted from 0; None for the last one.
        bare: Whether the output is read before the final norm; otherwise it goes through the norm.

    Raises:
        ModelError: If it has no such block, or its parts have no known names.
    """
    body, kept = decoder(module), []
    blocks = getattr(body, _named(body, BLOCKS, "blocks"))
    if block is not None and not 0 <= block < len(blocks):
        raise ModelError(f"The reconstructor reads block {block}; its model has {len(blocks)} blocks.")

    def keep(part: Any, given: Any, out: Any) -> None:
        """Keep the block's output, and stop."""
        kept.append(out[0] if isinstance(out, tuple) else out)
        raise _ReachedError

    handle = blocks[-1 if block is None else block].register_forward_hook(keep)
    try:
        last_hidden(module, prompts)
    except _ReachedError:
        pass
    finally:
        handle.remove()
    found: Tensor = kept[0][range(len(prompts)), [len(one) - 1 for one in prompts]]
    return found if bare else getattr(body, _named(body, FINAL_NORMS, "final norm"))(found)


def last_hidden(module: Any, prompts: Sequence[Sequence[int]]) -> Tensor:
    """Return what the body says at each prompt's last token, (prompts, d_model), in the model's dtype."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one in prompts], device=module.device)
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in prompts], device=module.device)
    hidden = module.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    found: Tensor = hidden[range(len(prompts)), [len(one) - 1 for one in prompts]]
    return found
