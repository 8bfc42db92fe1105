"""Sums of streamed rows: against extended precision; float32 is as exact as it says, and refused elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from bridge.errors import MapError
from bridge.maps import AffineMap, FittedMap, LinearMap, TrainingData
from bridge.moments import Array, Moments, total
from bridge.pipeline.fit.checks import fit_each
from bridge.pipeline.fit.training_data import mispair, mispaired_data, training_data
from bridge.precision import TOLERANCE, expected_error
from bridge.row_sums import RowSums
from bridge.scorers import Rows
from bridge.workers import Workers
from bridge_maps.ridge import Ridge, penalty_grid

FOLDS = 3
scales = st.sampled_from([(0.0, 1.0), (1e5, 1.0), (1e5, 1e-3), (-1e5, 1e-2), (1.0, 1e4)])


def summed(x: Array, y: Array, cuts: Collection[int] = (), dtype: type = np.float64) -> RowSums:
    """As three threads would: in tiles of columns, where there are enough of them."""
    with Workers() as workers:
        workers.count = 3
        sums = RowSums(x.shape[1], y.shape[1], dtype, workers)
        for left, right in zip(np.split(x, sorted(cuts)), np.split(y, sorted(cuts)), strict=True):
            sums.add(left, right)
    return sums


def assert_close(found: Moments, x: Array, y: Array, tolerance: float) -> None:
    """Within so much of the scatters, against numpy's covariance of rows centred in extended precision."""
    for mean, rows in ((found.mean_x, x), (found.mean_y, y)):
        expected = rows.astype(np.longdouble).mean(0)
        np.testing.assert_allclose(mean, expected.astype(float), rtol=1e-12, atol=1e-9 * rows.std())
    x, y = ((rows - rows.astype(np.longdouble).mean(0)).astype(np.float64) for rows in (x, y))
    for product, left, right in ((found.xx, x, x), (found.xy, x, y), (found.yy, y, y)):
        both = np.cov(left.T, right.T, bias=True) * len(x)
        expected = both[: left.shape[1], left.shape[1] :]
        assert np.abs(product - expected).max() <= tolerance * np.abs(expected).max()


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.sets(st.integers(0, 60), max_size=3), scales)
def test_streamed_rows_have_the_moments_of_the_whole(
    seed: int, n: int, cuts: set[int], scale: tuple[float, float]
) -> None:
    mean, spread = scale
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, 5)) * spread + mean, rng.normal(size=(n, 4)) * spread - mean
    assert_close(summed(x, y, cuts).moments(), x, y, 1e-9)


def test_tiles_make_up_the_whole() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 300)) + 7, rng.normal(size=(90, 260))
    found = summed(x, y, [40]).moments()
    assert_close(found, x, y, 1e-12)
    assert np.array_equal(found.xx, found.xx.T)
    assert_close(total([summed(x[:50], y[:50]).moments(), summed(x[50:], y[50:]).moments()]), x, y, 1e-12)
    again = summed(x, y, [40]).moments()
    assert all(np.array_equal(getattr(found, name), getattr(again, name)) for name in ("mean_x", "xx", "xy", "yy"))


def test_no_rows_have_no_moments() -> None:
    found = summed(np.zeros((0, 3)), np.zeros((0, 2))).moments()
    assert found.n == 0
    assert not any(array.any() for array in (found.mean_x, found.mean_y, found.xx, found.xy, found.yy))


def conditioned(condition: float) -> Callable[[np.random.Generator, int, int], Array]:
    def draw(rng: np.random.Generator, n: int, width: int) -> Array:
        turn = ortho_group.rvs(width, random_state=rng)
        return rng.normal(size=(n, width)) * np.geomspace(1, condition**-0.5, width) @ turn

    return draw


def large_means(rng: np.random.Generator, n: int, width: int) -> Array:
    return conditioned(100)(rng, n, width) + 1e5


def massive_dimensions(rng: np.random.Generator, n: int, width: int) -> Array:
    """Three that are a thousand times as large, far from zero, as residual streams have."""
    rows = conditioned(1000)(rng, n, width)
    rows[:, :3] = (rows[:, :3] + 3 * rng.exponential(size=(n, 1))) * 1000
    return rows


def outlying_rows(rng: np.random.Generator, n: int, width: int) -> Array:
    return conditioned(100)(rng, n, width) * np.where(np.arange(n) % 500 == 7, 30, 1)[:, None]


def drifting_means(rng: np.random.Generator, n: int, width: int) -> Array:
    return conditioned(100)(rng, n, width) + 5 * (np.arange(n) // 1000)[:, None]


KINDS = {
    **{f"condition {condition:g}": conditioned(condition) for condition in (1, 1e2, 1e4, 1e6, 1e8)},
    "large means": large_means,
    "massive dimensions": massive_dimensions,
    "outlying rows": outlying_rows,
    "drifting means": drifting_means,
}


def drawn(kind: str, n: int, d_src: int, d_dst: int, seed: int = 0) -> tuple[Array, Array]:
    """Float32 rows of one kind; the destination is a linear map of the source, and noise."""
    rng = np.random.default_rng(seed)
    x = KINDS[kind](rng, n, d_src).astype(np.float32)
    spread = x.std(0)
    y = (x - x.mean(0)) / spread @ rng.normal(size=(d_src, d_dst)) / np.sqrt(d_src) + 0.5 * rng.normal(size=(n, d_dst))
    return x, y.astype(np.float32)


@pytest.mark.parametrize("n", [500, 20_000])
@pytest.mark.parametrize("kind", KINDS)
def test_float32_is_never_further_off_than_expected(kind: str, n: int) -> None:
    x, y = drawn(kind, n, 40, 50)
    exact, sums = (summed(x, y, range(4096, n, 4096), dtype) for dtype in (np.float64, np.float32))
    found, expected, rounding = sums.moments(), exact.moments(), sums.rounding()
    for a, b in ((found, expected), (found.transposed(), expected.transposed())):
        reference = np.linalg.solve(b.xx, b.xy)
        off = np.abs(np.linalg.solve(a.xx, a.xy) - reference).max() / np.abs(reference).max()
        assert off <= max(expected_error(a, rounding), 1e-9)


def test_what_is_expected_of_float32() -> None:
    """More rows make it better, ill-conditioned ones worse; too few rows decide nothing."""
    errors = {}
    for kind, n in (("condition 100", 2000), ("condition 100", 20_000), ("condition 1e+06", 20_000)):
        sums = summed(*drawn(kind, n, 40, 50), range(500, n, 500), np.float32)
        errors[kind, n] = expected_error(sums.moments(), sums.rounding())
    few, many, worse = errors.values()
    assert 1e-8 < many < few / 2 < worse / 100
    sums = summed(*drawn("condition 1", 30, 40, 50), dtype=np.float32)
    assert expected_error(sums.moments(), sums.rounding()) > TOLERANCE
    x, y = drawn("condition 1", 500, 40, 50)
    x[:, 3] = 7
    sums = summed(x, y, dtype=np.float32)
    assert expected_error(sums.moments(), sums.rounding()) == np.inf


class Stored:
    """Rows in parts of 1,000, as `PairedRows` gives them, in documents of so many rows."""

    def __init__(self, x: Array, y: Array, document: int = 100) -> None:
        self.x, self.y, self.document = x, y, document
        self.fold = np.arange(len(x)) // 1000 % FOLDS
        self.served = 0

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        for start in range(0, len(self.x), 1000):
            rows = slice(start, start + 1000)
            if self.fold[start] in folds:
                self.served += 1
                x, y = self.x[rows], self.y[rows]
                yield int(self.fold[start]), Rows(x, y, np.arange(len(x)) // self.document, np.zeros(len(x), bool))

    def fit_on(self, **options: bool | int) -> TrainingData:
        return training_data(self, self.x.shape[1], self.y.shape[1], range(FOLDS), **options)


@pytest.mark.parametrize(("kind", "products"), [("condition 1", "float32"), ("condition 1e+06", "float64")])
def test_float32_where_it_agrees_with_a_grid_search_and_float64_elsewhere(kind: str, products: str) -> None:
    rows = Stored(*drawn(kind, 6000, 256, 260))
    data = rows.fit_on()
    assert data.products == products
    search = GridSearchCV(
        SklearnRidge(),
        {"alpha": list(penalty_grid(data.moments))[:8:2]},
        scoring=make_scorer(r2_score, multioutput="variance_weighted"),
        cv=PredefinedSplit(rows.fold),
    ).fit(rows.x.astype(np.float64), rows.y.astype(np.float64))
    fitted = Ridge(penalty=search.best_params_["alpha"]).fit(data)
    expected = search.best_estimator_.coef_.T
    assert np.abs(fitted.weight - expected).max() <= 1e-6 * np.abs(expected).max()


def test_float32_must_do_for_the_way_back_where_that_will_be_fitted() -> None:
    x = drawn("condition 1", 4000, 256, 256)[0]
    turn = ortho_group.rvs(256, random_state=np.random.default_rng(1))
    rows = Stored(x, (x * np.geomspace(1, 1e-3, 256) @ turn).astype(np.float32))
    assert rows.fit_on().products == "float32"
    assert rows.fit_on(reverse=True).products == "float64"


def test_float32_is_given_up_early_where_it_is_hopeless() -> None:
    rows = Stored(*drawn("condition 1e+08", 8000, 256, 256))
    assert rows.fit_on().products == "float64"
    assert rows.served == 16
    rows.served = 0
    assert rows.fit_on(expected=8000).products == "float64"
    assert rows.served == 2 + 8


def test_narrow_models_are_multiplied_in_float64() -> None:
    rows = Stored(*drawn("condition 1", 2000, 8, 300))
    assert rows.fit_on().products == "float64"
    assert rows.served == 2


@pytest.mark.parametrize("width", [16, 256], ids=["float64", "float32"])
def test_mispaired_rows_share_what_is_the_same(width: int) -> None:
    rows = Stored(*drawn("condition 1", 6000, width, width))
    paired = rows.fit_on()
    data = mispaired_data(rows, paired, range(FOLDS))
    assert data.products == paired.products
    wrong = [(fold, *mispair(part)) for fold, part in rows.parts(range(FOLDS))]
    expected = [total(Moments.of(x, y) for fold, x, y in wrong if fold == index) for index in range(FOLDS)]
    for found, reference, shared in zip(
        (*data.folds, data.moments), (*expected, total(expected)), (*paired.folds, paired.moments), strict=True
    ):
        assert found.xx is shared.xx
        assert found.yy is shared.yy
        assert np.abs(found.xy - reference.xy).max() <= 1e-6 * np.abs(reference.xy).max()
        np.testing.assert_allclose(found.mean_y, reference.mean_y, atol=1e-9)
    assert [len(x) for x, _ in data.blocks([1])] == [1000, 1000]


def test_mispaired_rows_without_partners_are_left_out() -> None:
    x, y = drawn("condition 1", 4500, 8, 8)
    rows = Stored(x, y, document=200)
    paired = rows.fit_on()
    data = mispaired_data(rows, paired, range(FOLDS))
    assert data.moments.n == paired.moments.n == 4500
    rows.x, rows.y = x[:3300], y[:3300]  # the last part is one document
    paired = rows.fit_on()
    data = mispaired_data(rows, paired, range(FOLDS))
    assert (paired.moments.n, data.moments.n) == (3300, 3000)
    assert data.folds[1].xx is not paired.folds[1].xx
    rows.document = 900
    with pytest.raises(MapError, match="no partner in another document"):
        mispaired_data(rows, paired, range(FOLDS))


@pytest.mark.parametrize("back", [False, True])
def test_ridge_fits_several_as_it_fits_each(back: bool) -> None:
    rows = Stored(*drawn("condition 100", 3000, 20, 30))
    paired = rows.fit_on()
    several = [paired, mispaired_data(rows, paired, range(FOLDS)), Stored(*drawn("large means", 2000, 20, 30)).fit_on()]
    several = [data.reversed() for data in several] if back else several
    for fitted, data in zip(Ridge().fit_each(several), several, strict=True):
        alone = Ridge().fit(data)
        assert isinstance(fitted, AffineMap)
        assert fitted.chosen() == alone.chosen()
        np.testing.assert_allclose(fitted.weight, alone.weight, rtol=1e-9, atol=1e-12)


class Moody(LinearMap):
    """Refuses rows that are unlike its first ones."""

    name, summary = "moody", ""

    def fit(self, data: TrainingData) -> FittedMap:
        if np.trace(data.moments.xy) < 0:
            raise MapError("not these rows")
        zeros = np.zeros(data.d_src)
        return AffineMap(np.eye(data.d_src), zeros, zeros)


def test_one_failing_fit_costs_no_other() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3))
    good, bad = (TrainingData((Moments.of(x, y),), lambda: iter(())) for y in (x, -x))
    fitted, error = fit_each(Moody(), [good, bad])
    assert isinstance(fitted, AffineMap)
    assert isinstance(error, MapError)
    assert isinstance(fit_each(Moody(), [bad])[0], MapError)


def test_workers_keep_the_order_and_pass_errors_on() -> None:
    with Workers(most=2) as workers:
        assert workers.map(lambda item: item**2, range(100)) == [item**2 for item in range(100)]
        with pytest.raises(ZeroDivisionError):
            workers.map(lambda item: 1 / item, [1, 0])
