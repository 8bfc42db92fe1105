"""When a forward pass reaches sites: modules that a user names by path stand anywhere in a block, or are never run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from bridge.errors import UsageError
from bridge.references import Site

if TYPE_CHECKING:
    from torch import nn


def reached(
    module: nn.Module,
    inputs: Mapping[str, Any],
    places: Mapping[Site, tuple[str, Literal["input", "output"]]],
    shape: tuple[int, ...],
) -> dict[Site, int]:
    """Watch one forward pass.

    Args:
        module: The model.
        inputs: Keyword arguments of its forward.
        places: For each site the path of its module, and whether its input or its output is meant.
        shape: What activations of this pass have at a site.

    Returns:
        For each site its place in the order of the pass.

    Raises:
        UsageError: If a module that a site names by path is not there, does not run exactly once, or returns no
            activations of this shape.
    """
    import torch

    modules = dict(module.named_modules(remove_duplicate=False))
    for site, (path, _) in places.items():
        if path not in modules:
            block = path.partition(f".{site.layer}.")[0] + f".{site.layer}"
            there = ", ".join(name for name, _ in modules[block].named_children()) if block in modules else "nothing"
            raise UsageError(
                f"This model has no module {path}.",
                remedy=f"Its block {block} holds {there}; {block} alone is the stream after the block.",
            )
    calls: list[tuple[Site, Any]] = []
    hooks = [_watch(modules[path], site, side, calls) for site, (path, side) in places.items()]
    try:
        with torch.inference_mode():
            module(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    for site, (path, _) in places.items():
        if site.is_module:
            _need_one(path, [found for at, found in calls if at == site], shape)
    # A layout's own points may run several times; the first is the one that is read.
    return {site: min(index for index, (at, _) in enumerate(calls) if at == site) for site in places}


def _watch(module: nn.Module, site: Site, side: str, calls: list[tuple[Site, Any]]) -> Any:
    def left(_: nn.Module, args: Any, output: Any) -> None:
        first = output[0] if isinstance(output, (tuple, list)) and output else output
        calls.append((site, getattr(first, "shape", None)))

    def entered(_: nn.Module, args: Any) -> None:
        calls.append((site, None))

    watch: dict[str, Callable[[], Any]] = {
        "output": lambda: module.register_forward_hook(left),
        "input": lambda: module.register_forward_pre_hook(entered),
    }
    return watch[side]()


def _need_one(path: str, shapes: list[Any], expected: tuple[int, ...]) -> None:
    if len(shapes) != 1:
        raise UsageError(
            f"{path} runs {len(shapes)} times in one pass, so its output is not one activation a token.",
            cause="It is shared between blocks, is a fused part of another module, or holds what others run.",
            remedy="Name the module around it, or a point of the block.",
        )
    if shapes[0] is None or tuple(shapes[0]) != expected:
        found = "no tensor" if shapes[0] is None else f"shape {tuple(shapes[0])}"
        raise UsageError(
            f"{path} returns {found} for {expected[1]} tokens, not {expected}.",
            cause="Sites hold one vector of the model's width a token; this module's output is something else.",
            remedy="Name a module whose output has the model's width, or a point of the block.",
        )
