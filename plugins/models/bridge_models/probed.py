"""Find the blocks of an unknown model with one forward pass, and record their inputs and outputs."""

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
    """The inputs and outputs of one block in a pass.

    Attributes:
        entered: The first input of each module by its path in the block ("" for the block), in the order of the pass:
            (texts, tokens, d_model) float32, with one more axis if there are several streams; None if the module runs
            twice or its input is something else.
        left: The first output of each module, as `entered`.
        beside: Shapes of the block's second outputs that are float tensors.
    """

    entered: dict[str, Tensor | None] = field(default_factory=dict)
    left: dict[str, Tensor | None] = field(default_factory=dict)
    beside: list[tuple[int, ...]] = field(default_factory=list)


@final
@dataclass(frozen=True)
class Found:
    """The blocks of a model.

    Attributes:
        path: Path of the blocks' module list.
        blocks: Inputs and outputs of each block.
        streams: Number of residual streams, and their axis; None for one stream.
    """

    path: str
    blocks: list[Seen]
    streams: tuple[int, int] | None


def find_blocks(module: nn.Module, depth: int, width: int, ids: Tensor) -> Found:
    """Find the list of blocks by running the model once.

    The second text equals the first. For the second text every block receives the first text's stream with another
    first token: if the two outputs differ after that token, the block has moved information between tokens.

    Args:
        module: A model of transformers.
        depth: Number of blocks in the model's configuration; blocks may be of several classes.
        width: Width of the residual stream.
        ids: Token ids, (3, tokens) int64; the first two rows are the same.

    Returns:
        The module list, the outermost if several fit, with the inputs and outputs of each block.

    Raises:
        ModelError: If the model does not run, or no list holds `depth` blocks that each run once and map a stream of
            this width to another.
    """
    shape = (*ids.shape, width)
    lists = _lists(module)
    found = {name: [Seen() for _ in range(depth)] for name in _as_long(lists, depth)}
    hooks = [
        hook
        for name, blocks in found.items()
        for seen, block in zip(blocks, lists[name], strict=True)
        for hook in _watch(block, seen, shape)
    ]
    try:
        _run(module, ids)
    finally:
        for hook in hooks:
            hook.remove()
    for name, blocks in found.items():
        if any(shape in block.beside for block in blocks):
            raise _two(module, name, shape)
        both = [end for block in blocks for end in (block.entered.get(""), block.left.get(""))]
        ends = {None if end is None else tuple(end.shape) for end in both}
        if ends == {shape}:
            return Found(name, blocks, None)
        if len(ends) == 1 and (streams := _streams(ends.pop(), shape)):
            return Found(name, blocks, streams)
    raise _not_found(module, depth, {name: len(child) for name, child in lists.items()}, shape)


def fitting_lists(module: nn.Module, depth: int) -> list[str]:
    """Return the paths of the module lists of length `depth`, the outermost first.

    Args:
        module: A model of transformers.
        depth: Number of blocks in the model's configuration.

    Raises:
        ModelError: If there is no such list.
    """
    lists = _lists(module)
    if not (found := _as_long(lists, depth)):
        raise ModelError(
            f"The blocks of {type(module).__name__} were not found: none of its module lists is {depth} long.",
            cause=f"Module lists and their lengths: {_lengths({name: len(one) for name, one in lists.items()})}.",
            remedy=_REMEDY,
        )
    return found


def _lists(module: nn.Module) -> dict[str, Any]:
    from torch.nn import ModuleList

    return {name: child for name, child in module.named_modules() if isinstance(child, ModuleList)}


def _as_long(lists: Mapping[str, Any], depth: int) -> list[str]:
    return sorted((name for name, child in lists.items() if len(child) == depth), key=lambda name: name.count("."))


def _lengths(lists: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({length})" for name, length in lists.items()) or "none"


def _streams(ends: tuple[int, ...] | None, shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return the number of streams in a tensor, and their axis; without that axis the shape is that of one stream."""
    axes = [axis for axis in range(len(ends or ())) if ends and ends[:axis] + ends[axis + 1 :] == shape]
    return (ends[axes[0]], axes[0]) if ends and len(axes) == 1 else None


def _run(module: nn.Module, ids: Tensor) -> None:
    import torch

    try:
        with torch.inference_mode():
            module(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False)
    except Exception as error:  # an unknown forward pass may raise any error
        raise ModelError(
            f"{type(module).__name__} does not run on token ids alone ({type(error).__name__}: {error}).",
            cause="It needs images, sound or other inputs beside text, or its configuration is not one that runs.",
            remedy=_REMEDY,
        ) from error


def _watch(block: nn.Module, seen: Seen, shape: tuple[int, ...]) -> Sequence[Any]:
    def before_call(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            # Sites read the first argument.
            first = args[0] if args else next(iter(kwargs.values()), None)
            seen.entered[name] = None if name in seen.entered else _stream(first, shape)

        return record

    def after_call(name: str) -> Callable[..., None]:
        def record(_: nn.Module, args: Any, output: Any) -> None:
            seen.left[name] = None if name in seen.left else _stream(output, shape)
            several = not name and isinstance(output, (tuple, list)) and output[1:]
            second = _stream(output[1], shape) if several else None
            seen.beside.extend([] if second is None else [tuple(second.shape)])

        return record

    return [
        block.register_forward_pre_hook(_with_another_first_token(shape), with_kwargs=True),
        *(
            hook
            for name, child in block.named_modules()
            for hook in (
                child.register_forward_pre_hook(before_call(name), with_kwargs=True),
                child.register_forward_hook(after_call(name)),
            )
        ),
    ]


def _with_another_first_token(shape: tuple[int, ...]) -> Callable[..., Any]:
    """Return a hook that replaces the second text's stream by the first's, with the first token of the third text."""

    def change(_: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> Any:
        """Return the block's arguments with the stream changed, or None to keep them."""
        import torch

        key = "" if args else next(iter(kwargs), "")
        stream = args[0] if args else kwargs.get(key)
        if not isinstance(stream, torch.Tensor) or tuple(stream.shape) != shape:
            return None
        stream = stream.clone()
        stream[1] = stream[0]
        stream[1, 0] = stream[2, 0]
        return ((stream, *args[1:]), kwargs) if args else (args, dict(kwargs) | {key: stream})

    return change


def _stream(value: Any, shape: tuple[int, ...]) -> Tensor | None:
    import torch

    value = value[0] if isinstance(value, (tuple, list)) and value else value
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return None
    # Some MLPs return the tokens of all texts on one axis; points read them after a reshape.
    found: Tensor = value.reshape(shape) if value.shape == (shape[0] * shape[1], shape[2]) else value
    # A copy, because some architectures later add to the residual stream in place.
    return found.float().clone()


def _not_found(module: nn.Module, depth: int, lists: Mapping[str, int], shape: tuple[int, ...]) -> ModelError:
    return ModelError(
        f"The blocks of {type(module).__name__} were not found: none of its module lists holds {depth} modules that "
        f"each run once and turn {shape} into {shape}.",
        cause=f"Module lists and their lengths: {_lengths(lists)}.",
        remedy=_REMEDY,
    )


def _two(module: nn.Module, name: str, shape: tuple[int, ...]) -> ModelError:
    return ModelError(
        f"{type(module).__name__} has several residual streams: blocks in {name} pass on two of {shape}.",
        cause="They are two tensors, of which each block changes one after the other: neither is the stream alone.",
        remedy="Use a model with one stream, or write a family plugin that names the one meant (CONTRIBUTING.md).",
    )
