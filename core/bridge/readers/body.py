"""The blocks of a causal language model, without head and final norm, and their output at the last token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

FINAL_NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f")
BLOCKS = ("layers", "h")
HEADS = ("lm_head", "embed_out")
"""Attribute names in the architectures of transformers."""


def decoder(module: Any) -> Any:
    """Return the module with blocks and final norm, for models with and without a multimodal wrapper."""
    body = module.base_model
    return getattr(body, "language_model", body)


def truncate(module: Any, count: int) -> None:
    """Keep the first `count` blocks of a causal language model of transformers, in place, and remove its final norm.

    Raises:
        ModelError: If the attribute of the blocks or of the final norm is unknown.
    """
    body, config = decoder(module), module.config.get_text_config()
    name = _named(body, BLOCKS, "blocks")
    setattr(body, name, getattr(body, name)[:count])
    remove_final_norm(module)
    config.num_hidden_layers = count
    # Settings of configurations for each block; GPT-Neo derives its second list from pairs of types and counts.
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:count]
    if getattr(config, "attention_types", None):
        config.attention_layers = config.attention_layers[:count]
        config.attention_types = [[[kind], 1] for kind in config.attention_layers]


def remove_final_norm(module: Any) -> None:
    """Replace the final norm of a causal language model of transformers by the identity, in place.

    Raises:
        ModelError: If the attribute of the final norm is unknown.
    """
    import torch

    body = decoder(module)
    setattr(body, _named(body, FINAL_NORMS, "final norm"), torch.nn.Identity())


def _named(body: Any, names: Sequence[str], what: str) -> str:
    found = next((name for name in names if hasattr(body, name)), None)
    if found is None:
        raise ModelError(f"{type(body).__name__} has no attribute {' or '.join(names)} for its {what}.")
    return found


@final
class _ReachedError(Exception):
    """Stops a forward pass after the block whose output is needed."""


def hidden_after(module: Any, prompts: Sequence[Sequence[int]], block: int | None, bare: bool) -> Tensor:
    """Return a block's output at the last token of each prompt, (prompts, d_model); later blocks are not run.

    Args:
        module: A causal language model of transformers.
        prompts: Token ids of each prompt.
        block: Index of the block, from 0; None for the last block.
        bare: Whether the output is returned before the final norm; otherwise the norm is applied to it.

    Raises:
        ModelError: If there is no such block, or the attribute of blocks or norm is unknown.
    """
    body, kept = decoder(module), []
    blocks = getattr(body, _named(body, BLOCKS, "blocks"))
    if block is not None and not 0 <= block < len(blocks):
        raise ModelError(f"The reconstructor reads the output of block {block}; its model has {len(blocks)} blocks.")

    def keep(part: Any, given: Any, out: Any) -> None:
        """Keep the block's output and stop the forward pass."""
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
    """Return the last hidden state at the last token of each prompt, (prompts, d_model), in the model's dtype."""
    import torch

    longest = max(map(len, prompts))
    ids = torch.tensor([[*one, *[0] * (longest - len(one))] for one in prompts], device=module.device)
    mask = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in prompts], device=module.device)
    hidden = module.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    found: Tensor = hidden[range(len(prompts)), [len(one) - 1 for one in prompts]]
    return found
