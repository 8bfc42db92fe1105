"""A uniform sample of a stream."""

from collections.abc import Sequence

import numpy as np
import pytest

from bridge.reservoir import Reservoir


def draw(blocks: Sequence[int], count: int, seed: int) -> list[int]:
    """Draw from the numbers 0, 1, ..., in blocks; in the order of the stream."""
    reservoir, kept, start = Reservoir(count, seed), np.empty(0, int), 0
    for size in blocks:
        kept = np.concatenate([kept, start + reservoir.admit(size)])
        start += size
        if reservoir.excess > 0:
            kept = kept[reservoir.trim()]
    assert sorted(kept[reservoir.shuffled()]) == kept.tolist()
    return kept.tolist()


@pytest.mark.parametrize("count", [0, 1, 7, 99, 100, 1000])
def test_the_sample_depends_on_the_seed_and_not_on_how_the_stream_is_cut(count: int) -> None:
    whole = draw([100], count, seed=1)
    assert len(set(whole)) == min(count, 100)
    assert draw([1] * 100, count, seed=1) == draw([30, 0, 69, 1], count, seed=1) == whole
    assert draw([100], count, seed=2) != whole or count in (0, 100, 1000)


def test_every_row_is_drawn_equally_often() -> None:
    times = np.bincount([row for seed in range(2000) for row in draw([5, 20, 15], 10, seed)], minlength=40)
    # Each is drawn with probability 1/4: 500 times of 2,000, with a standard deviation below 20.
    assert times.sum() == 20_000 and np.abs(times - 500).max() < 80
