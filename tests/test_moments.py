"""Moments add exactly, also where means are huge and variances tiny; EV is a closed form of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from bridge.moments import Array, Moments, explained_variance, total

steady = settings(derandomize=True, deadline=None)

seeds = st.integers(0, 2**32 - 1)
sizes = st.lists(st.integers(0, 40), min_size=1, max_size=6)
scales = st.sampled_from([(0.0, 1.0), (1e5, 1.0), (1e5, 1e-3), (-1e5, 1e-2), (1.0, 1e4)])


def sample(seed: int, size: int, mean: float, spread: float) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(size, 4)) * spread + mean
    y = (x[:, :3] - mean) @ rng.normal(size=(3, 3)) + spread * rng.normal(size=(size, 3)) - mean
    return x, y


def assert_same(first: Moments, second: Moments, spread: float) -> None:
    assert first.n == second.n
    for name in ("mean_x", "mean_y"):
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-13, atol=1e-9 * spread)
    for name in ("xx", "xy", "yy"):
        tolerance = 1e-6 * spread**2 * max(first.n, 1)
        np.testing.assert_allclose(getattr(first, name), getattr(second, name), rtol=1e-9, atol=tolerance)


def reference(x: Array, y: Array) -> Moments:
    """Two-pass moments in extended precision."""
    mean_x, mean_y = (np.asarray(rows, np.longdouble).mean(0) for rows in (x, y))
    left, right = x - mean_x, y - mean_y
    both = ((left, left), (left, right), (right, right))
    products = [(a[:, :, None] * b[:, None, :]).sum(0).astype(float) for a, b in both]
    return Moments(len(x), mean_x.astype(float), mean_y.astype(float), *products)


@steady
@given(seeds, sizes, scales)
def test_the_sum_of_the_parts_is_the_moments_of_the_whole(
    seed: int, sizes: list[int], scale: tuple[float, float]
) -> None:
    x, y = sample(seed, sum(sizes), *scale)
    cuts = np.cumsum(sizes)[:-1]
    parts = [Moments.of(a, b) for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True)]
    expected = reference(x, y) if len(x) else Moments.empty(4, 3)
    assert_same(total(parts), expected, scale[1])
    assert_same(total(reversed(parts)), expected, scale[1])


@steady
@given(seeds, st.tuples(*[st.integers(0, 40)] * 3), scales)
def test_addition_is_associative_and_commutative_and_has_a_zero(
    seed: int, sizes: tuple[int, int, int], scale: tuple[float, float]
) -> None:
    a, b, c = (Moments.of(*sample(seed + i, size, *scale)) for i, size in enumerate(sizes))
    assert_same((a + b) + c, a + (b + c), scale[1])
    assert_same(a + b, b + a, scale[1])
    zero = Moments.empty(4, 3)
    assert all(np.array_equal(getattr(a + zero, name), getattr(a, name)) for name in ("mean_x", "xx", "xy", "yy"))
    assert (zero + zero).n == 0


@steady
@given(seeds, st.lists(st.integers(0, 60), min_size=2, max_size=12), st.integers(1, 5))
def test_shards_give_the_same_moments_however_workers_divide_them(seed: int, sizes: list[int], workers: int) -> None:
    x, y = sample(seed, sum(sizes), 3.0, 1.0)
    cuts = np.cumsum(sizes)[:-1]
    shards = [Moments.of(a, b) for a, b in zip(np.split(x, cuts), np.split(y, cuts), strict=True)]
    whole = total(shards)
    rng = np.random.default_rng(seed)
    owner = rng.integers(workers, size=len(shards))
    order = rng.permutation(len(shards))  # in which a worker finishes
    divided = [[shards[i] for i in order if owner[i] == worker] for worker in range(workers)]
    merged = total([total([Moments.empty(4, 3), *mine]) for mine in divided])
    assert merged.n == whole.n
    for left, right, name in (("xx", "xx", "xx"), ("xx", "yy", "xy"), ("yy", "yy", "yy")):
        sizes_of = np.sqrt(np.outer(np.diag(getattr(whole, left)), np.diag(getattr(whole, right))))
        assert (np.abs(getattr(merged, name) - getattr(whole, name)) <= 1e-12 * sizes_of).all()
    for name in ("mean_x", "mean_y"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name), rtol=1e-13, atol=1e-13)


def test_rows_are_not_changed_and_low_precision_rows_are_summed_in_double() -> None:
    x, y = sample(0, 5000, 1e3, 1.0)
    given_x, given_y = x.astype(np.float32), y.astype(np.float32)
    copy = given_x.copy()
    moments = Moments.of(given_x, given_y)
    assert np.array_equal(given_x, copy)
    assert moments.xx.dtype == moments.mean_x.dtype == np.float64
    assert_same(moments, reference(given_x.astype(float), given_y.astype(float)), 1e-3)


@steady
@given(seeds, st.integers(2, 60), scales)
def test_explained_variance_is_the_variance_weighted_r2(seed: int, size: int, scale: tuple[float, float]) -> None:
    x, y = sample(seed, size, *scale)
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(4, 3))
    mean_x, mean_y = x.mean(0) + scale[1] * rng.normal(size=4), y.mean(0) + scale[1] * rng.normal(size=3)
    expected = r2_score(y, (x - mean_x) @ weight + mean_y, multioutput="variance_weighted")
    value = explained_variance(Moments.of(x, y), weight, mean_x, mean_y)
    assert value == pytest.approx(expected, rel=1e-6, abs=1e-6)
