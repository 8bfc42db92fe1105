"""Activations of one text that are joined by a graph, so that gradients can be taken between them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, final

from bridge.references import Site

if TYPE_CHECKING:
    from torch import Tensor, nn

    Place = tuple[nn.Module, Literal["input", "output"]]


@final
@dataclass(frozen=True)
class Tape:
    """What stood at the sites of one text, with the graph between them.

    Attributes:
        values: For each site (copies, tokens, d_model), on the model's device and in its dtype. The one that a pass
            reaches first is the root of the graph; every later one is a function of it.
        skipped: How many tokens at the beginning are not among the tokens of `values`; no gradient reaches them.
    """

    values: Mapping[Site, Tensor]
    skipped: int


@final
class _Reached(Exception):
    """The last site was reached: what comes after it is not computed."""


def record(places: Mapping[Site, Place], run: Callable[[], object]) -> dict[Site, Tensor]:
    """Run a model to the last of some places and keep what stood there, with gradients between them.

    The network goes on with a copy of every value that is kept, so that parts which change the stream in place do not
    change what is kept.

    Args:
        places: The modules, in the order in which a pass reaches them, and which side of them is meant.
        run: Runs the model.

    Returns:
        For each site its value; the first one is a leaf of the graph.
    """
    import torch

    kept: dict[Site, Tensor] = {}

    def keep(site: Site, value: Any) -> Any:
        """Keep a value, and return what the network goes on with."""
        first = value[0] if isinstance(value, (tuple, list)) else value
        kept[site] = first if kept else first.detach().requires_grad_()
        if len(kept) == len(places):
            raise _Reached
        copy = kept[site].clone()
        return type(value)((copy, *value[1:])) if isinstance(value, (tuple, list)) else copy

    hooks = [_hook(module, side, site, keep) for site, (module, side) in places.items()]
    try:
        with torch.enable_grad(), contextlib.suppress(_Reached):
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return kept


def _hook(module: nn.Module, side: str, site: Site, keep: Callable[[Site, Any], Any]) -> Any:
    if side == "output":
        return module.register_forward_hook(lambda _, args, output: keep(site, output))

    def entered(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
        if args:
            return (keep(site, args[0]), *args[1:]), named
        # Some models hand the stream over by name, as the first of the arguments that they name.
        name = next(iter(named))
        return args, named | {name: keep(site, named[name])}

    return module.register_forward_pre_hook(entered, with_kwargs=True)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let no parameter take part in a graph meanwhile: only activations are differentiated, and memory is saved."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_()
