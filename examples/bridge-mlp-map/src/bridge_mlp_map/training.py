"""Ridge by moments, and a network on what it leaves, by blocks of rows."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import final

import numpy as np
import torch
from torch import Tensor, nn

from bridge.errors import MapError
from bridge.maps import Array, TrainingData
from bridge.moments import Moments, explained_variance
from bridge_mlp_map.fitted import FittedMLP

VALIDATION = 0
"""The fold on which nothing is trained."""

BATCH, RATE, DECAY, PATIENCE = 512, 1e-3, 0.01, 2
PENALTIES = tuple(10.0**step for step in range(-5, 2))
"""Of ridge, in units of the mean eigenvalue of X'X."""

Examples = Callable[[list[int]], Iterator[tuple[Tensor, Tensor]]]


@final
class Network(nn.Module):
    """silu(x A + b) B + c, nothing at first: (n, d_src) to (n, d_dst)."""

    def __init__(self, d_src: int, hidden: int, d_dst: int) -> None:
        super().__init__()
        self.inward, self.outward = nn.Linear(d_src, hidden), nn.Linear(hidden, d_dst)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Read standardised rows."""
        said: Tensor = self.outward(nn.functional.silu(self.inward(x)))
        return said


def train(data: TrainingData, hidden: int, epochs: int, seed: int) -> FittedMLP:
    """Fit ridge by moments, then the network on the rest.

    Raises:
        MapError: If a fold has no rows, or the destination's rows are all alike.
    """
    moments, held = data.without_fold(VALIDATION), data.folds[VALIDATION]
    if not moments.n or not np.trace(held.yy) > 0:
        raise MapError("There are too few documents to train on some and stop by others.")
    penalty, weight = _ridge(moments, held)
    # The network reads coordinates of unit variance and writes in units of the destination's: streams are far from it.
    scale_x = np.sqrt(np.maximum(np.diag(moments.xx), 1e-12 * np.trace(moments.xx)) / moments.n)
    scale_y = float(np.sqrt(np.trace(moments.yy) / data.d_dst / moments.n))
    constants = [torch.from_numpy(a.astype(np.float32)) for a in (moments.mean_x, moments.mean_y, weight, scale_x)]

    def examples(folds: list[int]) -> Iterator[tuple[Tensor, Tensor]]:
        mean_x, mean_y, linear, scale = constants
        for x, y in data.blocks(folds):
            centred = torch.from_numpy(x) - mean_x
            yield centred / scale, (torch.from_numpy(y) - mean_y - centred @ linear) / scale_y

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(data.d_src, hidden, data.d_dst)
    rest, epoch = _descend(network, examples, [i for i in range(len(data.folds)) if i != VALIDATION], epochs, seed)
    inward, bias, outward, offset = (weights.detach().double().numpy() for weights in network.parameters())
    arrays = {
        "mean_src": moments.mean_x,
        "mean_dst": moments.mean_y,
        "weight": weight,
        "inward": inward.T / scale_x[:, None],
        "bias": bias,
        "outward": outward.T * scale_y,
        "offset": offset * scale_y,
        "slope": _mean_slope(network, examples([VALIDATION])),
    }
    linear_ev = explained_variance(held, weight, moments.mean_x, moments.mean_y)
    ev = 1 - rest * scale_y**2 / float(np.trace(held.yy))
    return FittedMLP(arrays, {"penalty": penalty, "epoch": epoch, "linear_ev": linear_ev, "ev": ev})


def _descend(network: Network, examples: Examples, folds: list[int], epochs: int, seed: int) -> tuple[float, int]:
    """Train in place; keep the epoch that leaves the least squared error on the validation fold, and return both."""
    steps = epochs * sum(-(-len(x) // BATCH) for x, _ in examples(folds))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng(seed)
    best, best_epoch, kept = _squared_error(network, examples([VALIDATION])), 0, copy.deepcopy(network.state_dict())
    for epoch in range(1, epochs + 1):
        for x, y in examples(folds):
            order = rng.permutation(len(x))
            for start in range(0, len(x), BATCH):
                rows = torch.from_numpy(order[start : start + BATCH])
                optimizer.zero_grad()
                torch.autograd.backward(nn.functional.mse_loss(network(x[rows]), y[rows]))
                optimizer.step()
                schedule.step()
        error = _squared_error(network, examples([VALIDATION]))
        if error < best:
            best, best_epoch, kept = error, epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_epoch >= PATIENCE:
            break
    network.load_state_dict(kept)
    return best, best_epoch


def _ridge(moments: Moments, held: Moments) -> tuple[float, Array]:
    """Return the penalty that explains most of the validation rows, and its weight, (d_src, d_dst)."""
    width = len(moments.mean_x)
    unit = float(np.trace(moments.xx)) / width
    fits: list[tuple[float, Array]] = [
        (a * unit, np.linalg.solve(moments.xx + a * unit * np.eye(width), moments.xy).astype(np.float64))
        for a in PENALTIES
    ]
    return max(fits, key=lambda fit: explained_variance(held, fit[1], moments.mean_x, moments.mean_y))


def _squared_error(network: Network, examples: Iterator[tuple[Tensor, Tensor]]) -> float:
    with torch.inference_mode():
        return sum(float((network(x) - y).double().square().sum()) for x, y in examples)


def _mean_slope(network: Network, examples: Iterator[tuple[Tensor, Tensor]]) -> Array:
    """Return the mean derivative of each hidden unit, (hidden,) float64; that of silu(z) is s + z s (1 - s)."""
    total, count = torch.zeros(network.inward.out_features, dtype=torch.float64), 0
    with torch.inference_mode():
        for x, _ in examples:
            z = network.inward(x).double()
            s = torch.sigmoid(z)
            total, count = total + (s + z * s * (1 - s)).sum(0), count + len(x)
    mean: Array = (total / count).numpy()
    return mean
