"""One forward pass of a model that is not known, watched: where its blocks are, and what goes in and out of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

from bridge.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor, nn

_REMEDY = "Write a model family plugin that names the paths; it is a page of code (CONTRIBUTING.md)."


@final
@dataclass(frozen=True)
class Seen:
    """What one block did in a pass.

    Attributes:
        entered: By path in the block ("" for itself), in the order of the pass, the first input of each module,
            (1, tokens, d_model) float32; None where the module runs twice or takes something else.
        left: As `entered`, of the first output.
        beside: Shapes of the second outputs that the block itself returns, where they are of floats.
    """

    entered: dict[str, Tensor | None] = field(default_factory=dict)
    left: dict[str, Tensor | None] = field(default_factory=dict)
    beside: list[tuple[int, ...]] = field(default_factory=list)


def find_blocks(module: nn.Module, depth: int, width: int, ids: Tensor) -> tuple[str, list[Seen]]:
    """Find the list of blocks, by running the model once.

    Args:
        module: A model of transformers.
        depth: How many blocks its configuration says there are; they may be of several classes.
        width: Width of the residual stream.
        ids: Token ids, (1, tokens) int64.

    Returns:
        Path of the module list, the outermost where several fit, and what each block did.

    Raises:
        ModelError: If the model does not run, or no list holds `depth` blocks that each run once and turn a stream of
            this width into another.
    """
    from torch.nn import ModuleList

    lists = {name: child for name, child in module.named_modules() if isinstance(child, ModuleList)}
    fitting = sorted((name for name, child in lists.items() if len(child) == depth), key=lambda name: name.count("."))
    found = {name: [Seen() for _ in range(depth)] for name in fitting}
    hooks = [
        hook
        for name, blocks in found.items()
        for seen, block in zip(blocks, lists[name], strict=True)
        for hook in _watch(block, seen)
    ]
    try:
        _run(module, ids)
    finally:
        for hook in hooks:
            hook.remove()
    for name, blocks in found.items():
        if any((*ids.shape, width) in block.beside for block in blocks):
            raise _several(module, name, f"two of {(*ids.shape, width)}")
        if all(_is_stream(block, (*ids.shape, width)) for block in blocks):
            return name, blocks
    raise _not_found(module, depth, {name: len(child) for name, child in lists.items()}, found, (*ids.shape, width))


def _run(module: nn.Module, ids: Tensor) -> None:
    import torch

    try:
        with torch.inference_mode():
            module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except Exception as error:  # whatever a foreign forward pass raises
        raise ModelError(
            f"{type(module).__name__} does not run on token ids alone ({type(error).__name__}: {error}).",
            cause="It needs images, sound or other inputs beside text, or its configuration is not one that runs.",
            remedy=_REMEDY,
        ) from error


def _watch(block: nn.Module, seen: Seen) -> Sequence[Any]:
    def before_call(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            # The first argument, as sites are read.
            first = args[0] if args else next(iter(kwargs.values()), None)
            seen.entered[name] = None if name in seen.entered else _stream(first)

        return record

    def after_call(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: Any, output: Any) -> None:
            seen.left[name] = None if name in seen.left else _stream(output)
            second = _stream(output[1]) if not name and isinstance(output, (tuple, list)) and output[1:] else None
            seen.beside.extend([] if second is None else [tuple(second.shape)])

        return record

    return [
        hook
        for name, child in block.named_modules()
        for hook in (
            child.register_forward_pre_hook(before_call(name), with_kwargs=True),
            child.register_forward_hook(after_call(name)),
        )
    ]


def _stream(value: Any) -> Tensor | None:
    import torch

    value = value[0] if isinstance(value, (tuple, list)) and value else value
    # A copy, because some architectures add to the residual stream in place further on.
    return value.float().clone() if isinstance(value, torch.Tensor) and value.is_floating_point() else None


def _is_stream(block: Seen, shape: tuple[int, ...]) -> bool:
    ends = (block.entered.get(""), block.left.get(""))
    return all(end is not None and tuple(end.shape) == shape for end in ends)


def _not_found(
    module: nn.Module,
    depth: int,
    lists: Mapping[str, int],
    found: Mapping[str, Sequence[Seen]],
    shape: tuple[int, ...],
) -> ModelError:
    for name, blocks in found.items():
        shapes = {tuple(end.shape) for block in blocks if (end := block.left.get("")) is not None}
        if len(several := {one for one in shapes if len(one) == len(shape) + 1 and one[-1] == shape[-1]}) == 1:
            return _several(module, name, f"{several.pop()}")
    seen = ", ".join(f"{name} ({length})" for name, length in lists.items()) or "none"
    return ModelError(
        f"The blocks of {type(module).__name__} were not found: none of its module lists holds {depth} modules that "
        f"each run once and turn {shape} into {shape}.",
        cause=f"Module lists and their lengths: {seen}.",
        remedy=_REMEDY,
    )


def _several(module: nn.Module, name: str, what: str) -> ModelError:
    return ModelError(
        f"{type(module).__name__} has several residual streams: blocks in {name} pass on {what}.",
        cause="A site holds one vector a token, and none of the streams is the one that is meant.",
        remedy="Use a model with one stream, or write a family plugin that names the one meant (CONTRIBUTING.md).",
    )
