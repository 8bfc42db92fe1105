"""Order of sites in a forward pass: modules that a user names by path may be anywhere, or may never run."""

from __future__ import annotations

import difflib
import re
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
    blocks: str,
) -> dict[Site, int]:
    """Watch one forward pass.

    Args:
        module: The model.
        inputs: Keyword arguments of the model's forward.
        places: For each site the path of its module, and the side: input or output.
        shape: Shape of the activations of this pass at a site.
        blocks: Path of the list of blocks, for refusals.

    Returns:
        For each site its index in the order of the pass.

    Raises:
        UsageError: If a module that a site names by path is not there, does not run exactly once, or returns no
            activations of this shape.
    """
    import torch

    modules = dict(module.named_modules(remove_duplicate=False))
    for path, _ in places.values():
        need_module(path, modules, blocks)
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
    # A layout's own points may run several times; the first run is read.
    return {site: min(index for index, (at, _) in enumerate(calls) if at == site) for site in places}


def need_module(path: str, modules: Mapping[str, nn.Module], blocks: str) -> None:
    """Refuse the path of a module that a model does not have, with the names of existing modules.

    Args:
        path: Path that the user gave.
        modules: Modules of the model, by path.
        blocks: Path of the list of blocks.

    Raises:
        UsageError: If there is no such module.
    """
    if path in modules:
        return
    block = re.match(rf"{re.escape(blocks)}\.\d+(?=\.)", path)
    if block and block[0] in modules:
        there = ", ".join(name for name, _ in modules[block[0]].named_children())
        more = f"Its block {block[0]} holds {there}; {block[0]} alone is the stream after the block."
    else:
        more = f"Its blocks are {blocks}. "
        outside = [name for name in modules if name and not name.startswith(blocks)]
        near = difflib.get_close_matches(path, [name for name in modules if name], n=3, cutoff=0.5)
        more += f"Did you mean {' or '.join(near)}?" if near else f"Outside of them stand {', '.join(outside[:12])}."
    raise UsageError(f"This model has no module {path}.", remedy=more)


def need_width(path: str, module: nn.Module, d_model: int) -> None:
    """Refuse a module whose output has another width, as far as its class shows.

    Args:
        path: Path that the user gave.
        module: The module at that path.
        d_model: Width of the residual stream.

    Raises:
        UsageError: If the module is a linear layer or an embedding of another width.
    """
    from torch.nn import Embedding, Linear

    width = {Linear: "out_features", Embedding: "embedding_dim"}
    found = next((getattr(module, name) for kind, name in width.items() if isinstance(module, kind)), d_model)
    if found != d_model:
        raise UsageError(
            f"{path} returns {found} numbers a token, and the model is {d_model} wide.",
            cause="Sites hold one vector of the model's width a token; this module's output is something else.",
            remedy="Name a module whose output has the model's width, or a point of the block.",
        )


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
            f"{path} returns {found} for {expected[0]} texts of {expected[1]} tokens, not {expected}.",
            cause="Sites hold one vector of the model's width a token; this module's output is something else.",
            remedy="Name a module whose output has the model's width, or a point of the block.",
        )
