"""The request that runs on the server: forward passes of several batches, and the rows of their kept tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

ROWS = "rows"
"""Name of the saved variable."""

Place = tuple[str, str]
"""Path of a module, and `input` or `output`."""


def read(model: Any, how: dict[str, Any], batches: Sequence[tuple[Tensor, Tensor]], places: Sequence[Place]) -> Any:
    """Run batches in one session, one request, and read places up to the last one.

    The block is sent as source with the variables that it names, so it names nothing of bridge: no package of ours is
    on the server.

    Args:
        model: nnsight's wrapper of the model, without weights if another machine runs it.
        how: `remote` or `backend` of `model.session`.
        batches: Token ids and masks, both (texts, tokens) int64.
        places: In the order of a pass.

    Returns:
        For each batch and place the activations of tokens under the mask, (kept, d_model); empty if the result has yet
        to be fetched.
    """
    import nnsight
    import torch

    rows: list[Tensor] = []
    with model.session(**how):
        rows = nnsight.save([])
        with torch.no_grad():
            for ids, mask in batches:
                with model.trace(input_ids=ids, attention_mask=mask, use_cache=False) as tracer:
                    for path, side in places:
                        envoy = model
                        for part in path.split("."):
                            envoy = envoy[int(part)] if part.isdigit() else getattr(envoy, part)
                        value = envoy.output if side == "output" else envoy.input
                        value = value[0] if isinstance(value, (tuple, list)) else value
                        # Indexing copies: later modules of some architectures change the stream in place.
                        rows.append(value[mask.bool().to(value.device)].detach().cpu())
                    tracer.stop()
    return rows
