"""Loading a model as one rank of several, each with a part of every linear layer, by transformers' own plans."""

from __future__ import annotations

from typing import Any


def parallel_options() -> dict[str, Any]:
    """Return options of `from_pretrained` for a rank of a group of torch.distributed; empty without such a group.

    Every rank must load the model and then run the same forward passes.
    """
    import torch.distributed as ranks

    if not (ranks.is_available() and ranks.is_initialized() and ranks.get_world_size() > 1):
        return {}
    from transformers.distributed import DistributedConfig

    return {"distributed_config": DistributedConfig(tp_plan="auto")}
