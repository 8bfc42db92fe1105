"""Whether a model of transformers keeps a cache of keys and values that bridge can use, and its inputs with one."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def cached_inputs(ids: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> dict[str, Any]:
    """Return the arguments of a forward pass from a cache; see `LoadedModel`."""
    given = {"input_ids": ids, "attention_mask": mask, "position_ids": positions, "past_key_values": cache}
    return given | {"use_cache": True, "logits_to_keep": 1}


def keeps_cache(module: Any) -> bool:
    """Tell whether a model of transformers keeps keys and values alone, and takes padding on the left.

    Recurrent ones call themselves stateful: how they take padding is each one's own affair.
    """
    named = inspect.signature(module.forward).parameters
    kinds = set(getattr(module.config.get_text_config(), "layer_types", None) or ())
    keys_alone = kinds <= {"full_attention", "sliding_attention", "chunked_attention"}
    return (
        {"past_key_values", "position_ids", "logits_to_keep"} <= named.keys() and keys_alone and not module._is_stateful
    )


def cached_tokens(config: Any) -> int | None:
    """Return up to how many tokens the keys of a text stay as they are: LongRoPE turns longer ones by other angles."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(kind for kind in rope.values() if isinstance(kind, dict))]
    return min(
        (kind["original_max_position_embeddings"] for kind in kinds if kind.get("rope_type") == "longrope"),
        default=None,
    )
