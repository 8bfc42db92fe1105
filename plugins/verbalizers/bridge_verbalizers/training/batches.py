"""The order of the training batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

WINDOW = 16
"""Number of batches whose examples are sorted by length together."""

Kind = TypeVar("Kind")


def schedule(
    lengths: Mapping[Kind, Sequence[int]], steps: int, batch: int, seed: int
) -> list[tuple[Kind, NDArray[np.intp]]]:
    """Choose every step's examples: the kinds alternate, and each kind repeats its examples.

    Args:
        lengths: Number of tokens of each example, by kind: a batch holds examples of similar length, to reduce
            padding.
        steps: Number of batches.
        batch: Number of examples in a batch.
        seed: Seed of the order.
    """
    rng = np.random.default_rng(seed)

    def batches(sizes: Sequence[int]) -> Iterator[NDArray[np.intp]]:
        while True:
            for window in np.array_split(rng.permutation(len(sizes)), -(-len(sizes) // (WINDOW * batch))):
                alike = window[np.argsort(np.asarray(sizes)[window], kind="stable")]
                parts = np.array_split(alike, -(-len(alike) // batch))
                for part in rng.permutation(len(parts)):
                    yield parts[part]

    turns = {kind: batches(sizes) for kind, sizes in lengths.items()}
    return [(kind, next(turns[kind])) for kind, _ in zip(cycle(turns), range(steps), strict=False)]
