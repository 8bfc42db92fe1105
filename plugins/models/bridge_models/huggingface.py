"""Any causal language model of transformers: its layout is found by running it once and looking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any, final

from bridge.errors import ModelError
from bridge.hookspecs import hookimpl
from bridge.models import Layout, Location, ModelAdapter, TransformersAdapter, Weights

if TYPE_CHECKING:
    from torch import Tensor, nn

_TOLERANCE = 0.05  # bfloat16 keeps 8 bits, and the stream is larger than what a part adds to it


@final
class HuggingFace(TransformersAdapter):
    """Serves what no family of its own claims.

    The blocks are the one list of equal modules as long as the model is deep. In the first block, the two modules
    whose outputs add up, with the block's input, to its output are attention and MLP; where no two do, only
    `resid_pre` and `resid_post` are offered.
    """

    name = "huggingface"
    fallback = True

    def claims(self, weights: Weights) -> bool:
        """Claim whatever names a model type."""
        return "model_type" in weights.config

    def layout(self, module: nn.Module) -> Layout:
        """Find the blocks and, by a forward pass, the sites in them.

        Raises:
            ModelError: If there is no list of blocks, or more than one.
        """
        blocks = _find_blocks(module)
        points = {"resid_pre": Location("", "input"), "resid_post": Location("", "output")}
        return Layout(blocks, points | _find_parts(module, module.get_submodule(f"{blocks}.0")))

    def tiny_configs(self) -> Sequence[Any]:
        """Return a tiny StarCoder2, an architecture that no first-party family claims."""
        from transformers import Starcoder2Config

        return [
            Starcoder2Config(
                vocab_size=512,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                bos_token_id=None,
                eos_token_id=1,
            )
        ]


def _find_blocks(module: nn.Module) -> str:
    from torch.nn import ModuleList

    config: Any = module.config
    depth: int = config.get_text_config().num_hidden_layers
    lists = {name: child for name, child in module.named_modules() if isinstance(child, ModuleList)}
    fitting = [
        name for name, child in lists.items() if len(child) == depth and len({type(block) for block in child}) == 1
    ]
    if len(fitting) != 1:
        seen = ", ".join(f"{name} ({len(child)})" for name, child in lists.items()) or "none"
        raise ModelError(
            f"The blocks of {type(module).__name__} were not found: {len(fitting)} of its module lists hold {depth} "
            f"modules of one class.",
            cause=f"Module lists and their lengths: {seen}.",
            remedy="Write a model family plugin that names the path; it is a page of code (CONTRIBUTING.md).",
        )
    return str(fitting[0])


def _find_parts(module: nn.Module, block: nn.Module) -> dict[str, Location]:
    import torch

    # None for a module that runs twice in a block (a dropout that both parts share): it is not in one place.
    entered: dict[str, Tensor | None] = {}
    left: dict[str, Tensor | None] = {}

    def before_call(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            entered[name] = None if name in entered else _stream(args[0] if args else kwargs.get("hidden_states"))

        return record

    def after_call(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: Any, output: Any) -> None:
            left[name] = None if name in left else _stream(output)

        return record

    hooks = [
        hook
        for name, child in block.named_modules()
        for hook in (
            child.register_forward_pre_hook(before_call(name), with_kwargs=True),
            child.register_forward_hook(after_call(name)),
        )
    ]
    try:
        ids = torch.tensor([[3, 1, 4, 1, 5, 9]], device=next(module.parameters()).device)
        known: Any = module  # to transformers: a torch module has no such method
        ids %= known.get_input_embeddings().num_embeddings
        with torch.inference_mode():
            module(input_ids=ids, use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    before, after = entered.pop(""), left.pop("")
    if before is None or after is None:
        return {}
    outputs = {name: out for name, out in left.items() if out is not None and out.shape == after.shape}
    added = after - before
    misfits = {(a, m): _misfit(outputs[a] + outputs[m], added) for a, m in combinations(outputs, 2)}
    if not misfits or min(misfits.values()) > _TOLERANCE:
        return {}
    attention, mlp = min(misfits, key=misfits.__getitem__)
    parts = {"attn_out": Location(attention, "output"), "mlp_out": Location(mlp, "output")}
    for name, entering in entered.items():
        if entering is not None and entering.shape == after.shape:
            misfit = _misfit(entering - before, outputs[attention])
            if misfit <= _TOLERANCE:
                parts["resid_mid"] = Location(name, "input")
                break
    return parts


def _misfit(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _stream(value: Any) -> Tensor | None:
    import torch

    value = value[0] if isinstance(value, tuple) and value else value
    # A copy, because some architectures add to the residual stream in place further on.
    return value.float().clone() if isinstance(value, torch.Tensor) and value.is_floating_point() else None


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the generic adapter."""
    register(HuggingFace())
