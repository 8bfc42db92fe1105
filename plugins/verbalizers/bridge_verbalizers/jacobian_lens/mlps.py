"""Gradients through the MLPs of a text, from their Jacobian at every position instead of one cotangent at a time.

An MLP of two or three matrices, y = W_out φ(W_1 x, W_2 x) with φ elementwise, has at position p the Jacobian
W_out (diag(∂φ/∂1) W_1 + diag(∂φ/∂2) W_2). Autograd multiplies every cotangent by each of the matrices. With d_model
cotangents, it is cheaper to add the two scaled inner matrices once per position and multiply them by the outer matrix
before the cotangents: a gated MLP 2.7 times as wide as the stream needs 0.46 times the operations. The results are the
same up to rounding.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from torch import Tensor, nn


@final
@dataclass
class RecordedMlp:
    """One MLP's values in a pass over one text; the text's graph is cut at the MLP's output.

    Attributes:
        x: The input, a node of the graph, (copies, tokens, d_model).
        y: The output, a leaf of the graph, (copies, tokens, d_model).
        slopes: For each inner matrix the derivative of the outer matrix's input by its product, (tokens, inner).
        inner: The inner matrices, (inner, d_model) each.
        outer: The outer matrix, (d_model, inner).
    """

    x: Tensor
    y: Tensor
    slopes: list[Tensor]
    inner: list[Tensor]
    outer: Tensor

    def pull_back(self, cotangents: Tensor) -> None:
        """Turn cotangents of the output into cotangents of the input, in place.

        Args:
            cotangents: (cotangents, tokens, d_model).
        """
        count, tokens, width = cotangents.shape
        hidden = self.outer.shape[1]
        # Compare the numbers of multiplications: the Jacobian first, or the cotangents through the matrices in turn.
        first = hidden * width * width + count * width * width < 2 * count * hidden * width
        for place in range(tokens):
            (one, *others) = zip(self.slopes, self.inner, strict=True)
            inside = one[0][place, :, None] * one[1]
            for slope, matrix in others:
                inside.addcmul_(slope[place, :, None], matrix)
            given = cotangents[:, place]
            cotangents[:, place] = given @ (self.outer @ inside) if first else (given @ self.outer) @ inside


@final
@dataclass
class _Watched:
    """An MLP's parts, and their inputs and outputs in the current pass."""

    inner: list[nn.Module]
    outer: nn.Module
    products: dict[nn.Module, Tensor] = field(default_factory=dict)
    hidden: Tensor | None = None


@contextlib.contextmanager
def recorded_mlps(blocks: Mapping[int, nn.Module], width: int) -> Iterator[dict[int, RecordedMlp]]:
    """Record the MLPs of blocks during passes, and cut the graphs at the MLPs' outputs.

    An MLP is a module whose parameters are those of two or three linear layers, one of which maps to the stream. The
    function between them is assumed to be elementwise, and not checked: callers must compare the result.

    Args:
        blocks: Blocks by number.
        width: Width of the stream.

    Returns:
        A context manager whose value is the recorded MLPs by block number; blocks without such an MLP are missing.
    """
    found: dict[int, RecordedMlp] = {}
    hooks: list[Any] = []
    for number, block in blocks.items():
        mlps = [(module, parts) for module in block.modules() if (parts := _parts(module, width))]
        if len(mlps) == 1:
            hooks += _watch(number, *mlps[0], found)
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _parts(module: nn.Module, width: int) -> _Watched | None:
    matrices = [child for child in module.children() if matrix_of(child) is not None]
    own = sum(parameter.numel() for parameter in module.parameters())
    if len(matrices) not in (2, 3) or own != sum(p.numel() for child in matrices for p in child.parameters()):
        return None
    *inner, outer = sorted(matrices, key=lambda child: _shape(child)[0] == width)
    hidden = _shape(outer)[1]
    fits = hidden != width and all(_shape(child) == (hidden, width) for child in inner)
    return _Watched(inner, outer) if fits and _shape(outer) == (width, hidden) else None


def matrix_of(module: nn.Module) -> Tensor | None:
    """Return the matrix of a linear layer, (out, in), also of transformers' `Conv1D`; None for any other module."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    if type(module) is nn.Linear:
        return module.weight.detach()
    if type(module) is Conv1D:
        return module.get_parameter("weight").detach().T
    return None


def _shape(module: nn.Module) -> tuple[int, ...]:
    matrix = matrix_of(module)
    return () if matrix is None else tuple(matrix.shape)


def _watch(number: int, module: nn.Module, parts: _Watched, found: dict[int, RecordedMlp]) -> list[Any]:
    def multiplied(inner: nn.Module, _: Any, output: Tensor) -> None:
        parts.products[inner] = output

    def entered(_: nn.Module, args: tuple[Any, ...]) -> None:
        parts.hidden = args[0]

    def left(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        """Record the MLP's values in the pass, and return the output detached from the graph."""
        products, hidden = [parts.products.get(inner) for inner in parts.inner], parts.hidden
        parts.products, parts.hidden = {}, None
        slopes = _slopes(products, hidden)
        if not args or not slopes or not hasattr(output, "detach") or output.shape != args[0].shape:
            return None
        y = output.detach().requires_grad_()
        inner, outer = [matrix_of(one) for one in parts.inner], matrix_of(parts.outer)
        assert outer is not None
        found[number] = RecordedMlp(args[0], y, slopes, [one for one in inner if one is not None], outer)
        return y

    return [
        *(inner.register_forward_hook(multiplied) for inner in parts.inner),
        parts.outer.register_forward_pre_hook(entered),
        module.register_forward_hook(left),
    ]


def _slopes(products: list[Tensor | None], hidden: Tensor | None) -> list[Tensor]:
    """Return the derivatives of the hidden values by the products, (tokens, inner); empty without a graph."""
    import torch

    there = [product for product in products if product is not None]
    if hidden is None or len(there) < len(products) or not hidden.requires_grad or hidden.ndim != 3:
        return []
    if any(product.shape != hidden.shape or not product.requires_grad for product in there):
        return []
    slopes = torch.autograd.grad(hidden, there, torch.ones_like(hidden), allow_unused=True)
    # All copies of the text have equal slopes.
    return [slope[0].clone() for slope in slopes if slope is not None] if None not in slopes else []
