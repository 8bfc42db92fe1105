r"""Jacobians of one text: derivatives of the stream before the final norm by the stream after each block.

For every dimension i of the target, one cotangent is one-hot at all valid positions. Its gradient at position p of
layer l is \(\sum_{p' \ge p} \partial h_i[p'] / \partial h_l[p]\), and row i of \(J_l\) is its mean over valid p.
Positions from `skip` to the last but one are valid, as in the source: all positions attend strongly to the first
positions, and the last position predicts no token of the text.

Source: the reference implementation of the Jacobian lens (github.com/anthropics/jacobian-lens, `jlens/fitting.py`;
"Verbalizable Representations Form a Global Workspace in Language Models", 2026). Differences from it change rounding
only. Positions that do not affect the result are left out: the last token (by causality), and the first tokens, which
are read into the cache of keys and values. Gradients pass the blocks one by one, with all dimensions that fit into
memory, so that MLPs can use the method of `mlps`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.models import LoadedModel, Tape
from bridge.references import Site
from bridge_verbalizers.jacobian_lens.mlps import RecordedMlp, recorded_mlps

if TYPE_CHECKING:
    from torch import Tensor

COPIES = 8
"""Maximal number of copies of a text in the batch, which is the number of cotangents per backward pass."""

TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
"""Maximal relative difference between blockwise gradients and those of the whole graph; rounding is smaller."""
COARSE = 0.2
"""Maximal relative difference in half precision."""

Ids = NDArray[np.int64]
Jacobians = dict[int, NDArray[np.float32]]


@final
@dataclass(frozen=True)
class Estimator:
    """Computes the Jacobians of texts.

    Attributes:
        model: The model.
        layers: Numbers of the blocks whose outputs are differentiated by, in order; the last block's is the identity.
        skip: Number of positions left out at the beginning.
        memory: Bound on the memory used besides the model, in bytes.
    """

    model: LoadedModel
    layers: tuple[int, ...]
    skip: int
    memory: int

    def jacobians(self, ids: Ids, advance: Callable[[int], None]) -> Jacobians:
        """Return the Jacobians of one text.

        Args:
            ids: Token ids, (tokens,) int64, at least `skip` + 2.
            advance: Receives the number of target dimensions newly done.

        Returns:
            By layer (d_model of the target, d_model of the layer), float32.

        Raises:
            BridgeError: If a gradient is not finite.
        """
        width, last = self.model.d_model, self.model.n_layers - 1
        earlier = [layer for layer in self.layers if layer < last]
        found: Jacobians = {last: np.eye(width, dtype=np.float32)} if last in self.layers else {}
        if not earlier:
            advance(width)
            return found
        # The last token does not affect the result: no valid position follows it.
        text = ids[:-1]
        check = _Check(self.model, text, earlier, self.skip, self.memory // 2)
        by_blocks = self._by_blocks(text, earlier, check.copies, advance)
        if not check.agrees(by_blocks):
            # Some value bypasses a block, as keys shared with later layers: only the whole graph includes it.
            by_blocks = _whole(self.model, text, earlier, self.skip, check.copies)
        if not all(np.isfinite(matrix).all() for matrix in by_blocks.values()):
            raise BridgeError(
                f"A gradient of {self.model.name} is not finite.",
                cause="A value overflows on the way back in this dtype.",
                remedy="Fit with --dtype float32.",
            )
        return found | by_blocks

    def _by_blocks(self, text: Ids, layers: Sequence[int], copies: int, advance: Callable[[int], None]) -> Jacobians:
        import torch

        blocks = self.model.module.get_submodule(self.model.layout.blocks)
        passed = range(layers[0] + 1, self.model.n_layers)
        with recorded_mlps({layer: blocks.get_submodule(str(layer)) for layer in passed}, self.model.d_model) as mlps:
            tape = _tape(self.model, text, range(layers[0], self.model.n_layers), self.skip, copies)
        target = tape.values[Site(self.model.n_layers - 1)]
        width, start = self.model.d_model, self.skip - tape.skipped
        found = {layer: np.empty((width, width), np.float32) for layer in layers}
        # Memory of the cotangents before and after an MLP, and of their products.
        each = 3 * target[0].numel() * target.element_size()
        step = min(width, max(copies, self.memory // 2 // each // copies * copies))
        for first in range(0, width, step):
            count = min(step, width - first)
            cotangents = torch.zeros((count, *target.shape[1:]), dtype=target.dtype, device=target.device)
            rows = torch.arange(count, device=target.device)
            cotangents[rows, start:, first + rows] = 1
            for done, layer in enumerate(reversed(passed), 1):
                block = tape.values[Site(layer)], tape.values[Site(layer - 1)]
                _through_block(block, mlps.get(layer), cotangents, copies)
                if layer - 1 in found:
                    found[layer - 1][first : first + count] = cotangents[:, start:].float().mean(1).cpu().numpy()
                advance(count * done // len(passed) - count * (done - 1) // len(passed))
        return found


def _tape(model: LoadedModel, text: Ids, layers: Sequence[int], skip: int, copies: int) -> Tape:
    return model.tape(text, [Site(layer) for layer in layers], copies=copies, skip=skip)


def _through_block(block: tuple[Tensor, Tensor], mlp: RecordedMlp | None, cotangents: Tensor, copies: int) -> None:
    """Turn cotangents of a block's output into cotangents of its input, in place.

    Args:
        block: The stream after and before the block, (copies, tokens, d_model).
        mlp: The block's MLP; with None, autograd computes everything.
        cotangents: (cotangents, tokens, d_model).
        copies: Number of cotangents per backward pass.
    """
    after, before = block
    parts = [slice(first, first + copies) for first in range(0, len(cotangents), copies)]
    if mlp is None:
        for part in parts:
            cotangents[part] = _gradient([after], before, [cotangents[part]])
        return
    inside = cotangents.new_empty(cotangents.shape)
    for part in parts:
        inside[part] = _gradient([after], mlp.y, [cotangents[part]])
    mlp.pull_back(inside)
    for part in parts:
        cotangents[part] = _gradient([after, mlp.x], before, [cotangents[part], inside[part]])


def _gradient(outputs: Sequence[Tensor], given: Tensor, cotangents: Sequence[Tensor]) -> Tensor:
    import torch

    count = len(cotangents[0])
    full = [
        one if count == len(given) else torch.cat([one, one.new_zeros((len(given) - count, *one.shape[1:]))])
        for one in cotangents
    ]
    (gradient,) = torch.autograd.grad(outputs, [given], full, retain_graph=True, materialize_grads=True)
    return gradient[:count]


def _whole(model: LoadedModel, text: Ids, layers: Sequence[int], skip: int, copies: int) -> Jacobians:
    """Compute the Jacobians through the whole graph, as the source does."""
    import torch

    tape = _tape(model, text, [*layers, model.n_layers - 1], skip, copies)
    found = {layer: np.empty((model.d_model, model.d_model), np.float32) for layer in layers}
    for first in range(0, model.d_model, copies):
        count = min(copies, model.d_model - first)
        directions = torch.eye(model.d_model)[first : first + count]
        for layer, rows in _rows(model, tape, layers, skip, directions).items():
            found[layer][first : first + count] = rows
    return found


def _rows(
    model: LoadedModel, tape: Tape, layers: Sequence[int], skip: int, directions: Tensor
) -> Mapping[int, NDArray[np.float32]]:
    """Return the products of target directions with the Jacobians, by layer, (directions, d_model)."""
    import torch

    target, start = tape.values[Site(model.n_layers - 1)], skip - tape.skipped
    cotangents = torch.zeros_like(target)
    cotangents[: len(directions), start:] = directions[:, None].to(target)
    sources = [tape.values[Site(layer)] for layer in layers]
    gradients = torch.autograd.grad([target], sources, [cotangents], retain_graph=True, materialize_grads=True)
    means = (one[: len(directions), start:].float().mean(1).cpu().numpy() for one in gradients)
    return dict(zip(layers, means, strict=True))


@final
class _Check:
    """Check with one random direction through the whole graph, which costs one of d_model gradients.

    Args:
        model: The model.
        text: Token ids.
        layers: Numbers of the blocks.
        skip: Number of positions left out.
        memory: Bound on the graph of all copies, in bytes.
    """

    def __init__(self, model: LoadedModel, text: Ids, layers: Sequence[int], skip: int, memory: int) -> None:
        import torch

        held: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage: Any = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
            return tensor

        weights = {one.untyped_storage().data_ptr() for one in model.module.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            tape = _tape(model, text, [*layers, model.n_layers - 1], skip, 1)
        graph = sum(size for place, size in held.items() if place not in weights)
        self.copies = max(1, min(COPIES, memory // max(graph, 1)))
        direction = torch.randn(1, model.d_model, generator=torch.Generator().manual_seed(0))
        self._exact = _rows(model, tape, layers, skip, direction)
        self._direction = direction[0].numpy()
        dtype = str(tape.values[Site(model.n_layers - 1)].dtype).removeprefix("torch.")
        self._tolerance = TOLERANCE.get(dtype, COARSE)

    def agrees(self, found: Jacobians) -> bool:
        """Tell whether the Jacobians give the same gradients for this direction."""
        off = [
            np.linalg.norm(self._direction @ found[layer] - row[0]) - self._tolerance * np.linalg.norm(row[0])
            for layer, row in self._exact.items()
        ]
        return bool(max(off) <= 0)
