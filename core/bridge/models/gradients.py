"""Activations of one text with the graph between them, for gradients between sites."""

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
    """The activations at the sites of one text, with the graph between them.

    Attributes:
        values: For each site (copies, tokens, d_model), on the model's device and in its dtype. The site that a pass
            reaches first is the root of the graph; every later site is a function of it.
        skipped: Number of tokens at the beginning that `values` omits; no gradient reaches them.
    """

    values: Mapping[Site, Tensor]
    skipped: int


@final
class _Reached(Exception):
    """The last site was reached; nothing after it is computed."""


def record(places: Mapping[Site, Place], run: Callable[[], object]) -> dict[Site, Tensor]:
    """Run a model up to the last of some places and keep the values there, with gradients between them.

    The network continues with a copy of every kept value, so that modules which change the stream in place do not
    change the kept values.

    Args:
        places: The modules, in the order in which a pass reaches them, and which side of them is meant.
        run: Runs the model.

    Returns:
        For each site its value; the first one is a leaf of the graph.
    """
    import torch

    kept: dict[Site, Tensor] = {}

    def keep(site: Site, value: Any) -> Any:
        """Keep a value, and return the copy that the network continues with."""
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
        # Some models pass the stream as their first keyword argument.
        name = next(iter(named))
        return args, named | {name: keep(site, named[name])}

    return module.register_forward_pre_hook(entered, with_kwargs=True)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Exclude all parameters from the graph within the context: only activations are differentiated, to save memory."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_()
