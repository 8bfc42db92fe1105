"""Every map against an independent reference fitted on the rows themselves, and the laws of fitted maps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes
from scipy.stats import kstest, ortho_group
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, PredefinedSplit

from bridge.errors import MapError
from bridge.maps import AffineMap, Array, Map, TrainingData
from bridge.moments import Moments
from bridge_maps.identity import Identity
from bridge_maps.low_rank import LowRank
from bridge_maps.ols import OLS
from bridge_maps.procrustes import Procrustes
from bridge_maps.random_orthogonal import RandomOrthogonal
from bridge_maps.ridge import Ridge, penalty_grid

steady = settings(derandomize=True, deadline=None)

FOLDS = 4
WIDTHS = [(6, 6), (6, 9), (9, 6)]
widths = pytest.mark.parametrize(("d_src", "d_dst"), WIDTHS)


class Rows:
    """Paired rows with large means, unequal variances and noise; `data` is what the core would hand a map."""

    def __init__(self, x: Array, y: Array, fold: Sequence[int] | None = None) -> None:
        self.x, self.y = x, y
        self.fold = np.arange(len(x)) % FOLDS if fold is None else np.asarray(fold)
        moments = tuple(Moments.of(x[self.fold == i], y[self.fold == i]) for i in range(FOLDS))
        self.data = TrainingData(moments, lambda: iter([(x, y)]))
        self.centred_x, self.centred_y = x - x.mean(0), y - y.mean(0)

    @classmethod
    def draw(cls, d_src: int, d_dst: int, n: int = 300, seed: int = 0, noise: float = 1.0) -> Rows:
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(n, d_src)) * np.geomspace(3.0, 0.3, d_src) + 50 * rng.normal(size=d_src)
        y = (x - x.mean(0)) @ rng.normal(size=(d_src, d_dst)) + noise * rng.normal(size=(n, d_dst))
        return cls(x, y + 50 * rng.normal(size=d_dst), rng.permutation(n) % FOLDS)


def weight_of(fitted: AffineMap) -> Array:
    return fitted.direction(np.eye(fitted.d_src))


def assert_fit(fitted: AffineMap, weight: Array, rows: Rows) -> None:
    """The weight, and the points: both means must be the training means."""
    np.testing.assert_allclose(weight_of(fitted), weight, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(fitted(rows.x), rows.centred_x @ weight + rows.y.mean(0), rtol=1e-6, atol=1e-6)


@widths
def test_ols_is_linear_regression(d_src: int, d_dst: int) -> None:
    rows = Rows.draw(d_src, d_dst)
    reference = LinearRegression().fit(rows.x, rows.y)
    fitted = OLS().fit(rows.data)
    assert_fit(fitted, reference.coef_.T, rows)
    np.testing.assert_allclose(fitted(rows.x), reference.predict(rows.x), rtol=1e-6)


def test_ols_has_the_least_norm_where_the_rows_do_not_decide() -> None:
    rows = Rows.draw(9, 4, n=6)
    assert_fit(OLS().fit(rows.data), np.linalg.lstsq(rows.centred_x, rows.centred_y, rcond=1e-10)[0], rows)


@widths
@pytest.mark.parametrize("penalty", [1e-3, 30.0, 1e4])
def test_ridge_of_a_given_penalty(d_src: int, d_dst: int, penalty: float) -> None:
    rows = Rows.draw(d_src, d_dst)
    fitted = Ridge(penalty=penalty).fit(rows.data)
    assert_fit(fitted, SklearnRidge(alpha=penalty).fit(rows.x, rows.y).coef_.T, rows)
    assert fitted.chosen() == {"penalty": penalty}


@pytest.mark.parametrize(("noise", "n"), [(0.01, 300), (3.0, 60), (10.0, 40), (40.0, 40)])
def test_ridge_chooses_the_penalty_that_a_grid_search_chooses(noise: float, n: int) -> None:
    rows = Rows.draw(9, 6, n=n, noise=noise, seed=3)
    search = GridSearchCV(
        SklearnRidge(),
        {"alpha": list(penalty_grid(rows.data.moments))},
        scoring=make_scorer(r2_score, multioutput="variance_weighted"),
        cv=PredefinedSplit(rows.fold),
    ).fit(rows.x, rows.y)
    fitted = Ridge().fit(rows.data)
    assert fitted.chosen()["penalty"] == search.best_params_["alpha"]
    assert_fit(fitted, search.best_estimator_.coef_.T, rows)


def test_a_fold_without_variance_does_not_decide_the_penalty() -> None:
    rows = Rows.draw(9, 6, n=40, noise=10.0)
    for empty in (np.zeros(40, bool), np.arange(40) == 0):
        fold = np.where(empty, 3, np.arange(40) % 3)
        short = Rows(rows.x, rows.y, fold)
        whole = TrainingData(short.data.folds[:3], short.data.blocks)
        for kind in (Ridge(), LowRank()):
            chosen, expected = kind.fit(short.data).chosen(), kind.fit(whole).chosen()
            assert chosen["penalty"] == pytest.approx(expected["penalty"], rel=0.5)


@pytest.mark.parametrize("penalty", [-1.0, float("nan")])
def test_ridge_refuses_impossible_penalties(penalty: float) -> None:
    with pytest.raises(MapError, match="penalty"):
        Ridge(penalty=penalty).fit(Rows.draw(4, 4).data)


def test_a_penalty_needs_two_folds_to_choose() -> None:
    rows = Rows.draw(4, 4)
    single = TrainingData((rows.data.moments,), rows.data.blocks)
    with pytest.raises(MapError, match="two folds"):
        Ridge().fit(single)
    assert_fit(Ridge(penalty=1.0).fit(single), SklearnRidge(alpha=1.0).fit(rows.x, rows.y).coef_.T, rows)


def test_procrustes_is_scipys() -> None:
    rows = Rows.draw(6, 6)
    rotation, trace = orthogonal_procrustes(rows.centred_x, rows.centred_y)
    assert_fit(Procrustes(scaled=False).fit(rows.data), rotation, rows)
    scale = trace / np.sum(rows.centred_x**2)
    fitted = Procrustes().fit(rows.data)
    assert_fit(fitted, scale * rotation, rows)
    assert fitted.chosen()["scale"] == pytest.approx(scale)


@widths
def test_procrustes_is_semi_orthogonal_and_its_scale_is_least_squares(d_src: int, d_dst: int) -> None:
    rows = Rows.draw(d_src, d_dst)
    plain = weight_of(Procrustes(scaled=False).fit(rows.data))
    product = plain @ plain.T if d_src <= d_dst else plain.T @ plain
    np.testing.assert_allclose(product, np.eye(min(d_src, d_dst)), atol=1e-12)
    left, _, right = np.linalg.svd(rows.centred_x.T @ rows.centred_y, full_matrices=False)
    np.testing.assert_allclose(plain, left @ right, atol=1e-9)
    mapped = rows.centred_x @ plain
    scale = np.vdot(mapped, rows.centred_y) / np.vdot(mapped, mapped)
    assert Procrustes().fit(rows.data).chosen()["scale"] == pytest.approx(scale)


@pytest.mark.parametrize("reflected", [False, True])
def test_rotations_only_gives_a_rotation_even_where_a_reflection_fits_better(reflected: bool) -> None:
    rng = np.random.default_rng(5)
    turn = ortho_group.rvs(5, random_state=rng)
    if (np.linalg.det(turn) < 0) != reflected:
        turn[:, 0] *= -1
    x = rng.normal(size=(200, 5)) * [3, 2, 1, 1, 0.5]
    rows = Rows(x, x @ turn + 0.01 * rng.normal(size=(200, 5)))
    free, proper = Procrustes(scaled=False).fit(rows.data), Procrustes(scaled=False, rotation=True).fit(rows.data)
    assert np.linalg.det(weight_of(free)) == pytest.approx(-1 if reflected else 1)
    assert np.linalg.det(weight_of(proper)) == pytest.approx(1)
    if not reflected:
        assert np.array_equal(weight_of(free), weight_of(proper))
        return
    # No other rotation near it or anywhere fits better.
    least = np.sum((rows.y - proper(rows.x)) ** 2)
    for other in ortho_group.rvs(5, size=300, random_state=rng):
        other[:, 0] *= np.sign(np.linalg.det(other))
        assert np.sum((rows.centred_y - rows.centred_x @ other) ** 2) > least
    # The scale of a rotation is the least-squares one too.
    scaled = Procrustes(rotation=True).fit(rows.data)
    mapped = rows.centred_x @ weight_of(proper)
    assert scaled.chosen()["scale"] == pytest.approx(np.vdot(mapped, rows.centred_y) / np.vdot(mapped, mapped))


@steady
@given(st.integers(0, 10_000), st.integers(2, 8), st.floats(0.1, 100))
def test_procrustes_recovers_an_exact_rotation_and_scale(seed: int, width: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    turn = ortho_group.rvs(width, random_state=rng)
    x = rng.normal(size=(20 * width, width)) + 30 * rng.normal(size=width)
    rows = Rows(x, scale * x @ turn + rng.normal(size=width))
    fitted = Procrustes().fit(rows.data)
    np.testing.assert_allclose(weight_of(fitted), scale * turn, rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(fitted(x), rows.y, rtol=1e-6, atol=1e-6 * scale)


@widths
@pytest.mark.parametrize("rank", [1, 3, 6])
def test_low_rank_is_reduced_rank_ridge_regression(d_src: int, d_dst: int, rank: int) -> None:
    """By hand: append sqrt(penalty) I to the rows, and truncate the SVD of the values fitted to them."""
    rows = Rows.draw(d_src, d_dst, n=40, noise=5.0)
    fitted = LowRank(rank=rank).fit(rows.data)
    penalty = fitted.chosen()["penalty"]
    assert penalty == Ridge().fit(rows.data).chosen()["penalty"]
    tall_x = np.vstack([rows.centred_x, np.sqrt(penalty) * np.eye(d_src)])
    tall_y = np.vstack([rows.centred_y, np.zeros((d_src, d_dst))])
    weight = np.linalg.lstsq(tall_x, tall_y)[0]
    _, _, right = np.linalg.svd(tall_x @ weight)
    assert_fit(fitted, weight @ right[:rank].T @ right[:rank], rows)
    assert np.linalg.matrix_rank(weight_of(fitted)) == rank
    if rank == min(d_src, d_dst):
        assert_fit(fitted, weight, rows)


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_low_rank_finds_the_planted_rank(rank: int) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 8))
    y = x @ rng.normal(size=(8, rank)) @ rng.normal(size=(rank, 8)) + 2 * rng.normal(size=(400, 8))
    assert LowRank().fit(Rows(x, y).data).chosen()["rank"] == rank


@pytest.mark.parametrize("rank", [0, -1, 7])
def test_low_rank_names_the_ranks_that_exist(rank: int) -> None:
    with pytest.raises(MapError, match="1 to 6"):
        LowRank(rank=rank).fit(Rows.draw(6, 9).data)


@widths
def test_a_random_map_is_semi_orthogonal_seeded_and_keeps_mean_and_variance(d_src: int, d_dst: int) -> None:
    rows = Rows.draw(d_src, d_dst)
    fitted = RandomOrthogonal(seed=1).fit(rows.data)
    weight = weight_of(fitted) / fitted.chosen()["scale"]
    product = weight @ weight.T if d_src <= d_dst else weight.T @ weight
    np.testing.assert_allclose(product, np.eye(min(d_src, d_dst)), atol=1e-12)
    np.testing.assert_allclose(fitted(rows.x).mean(0), rows.y.mean(0))
    assert fitted(rows.x).var(0).sum() == pytest.approx(rows.y.var(0).sum())
    assert np.array_equal(weight_of(fitted), weight_of(RandomOrthogonal(seed=1).fit(rows.data)))
    assert not np.allclose(weight_of(fitted), weight_of(RandomOrthogonal(seed=2).fit(rows.data)))


def test_random_maps_are_haar() -> None:
    """Any entry of a Haar matrix of width d has the law of one coordinate on the sphere: t^2 ~ Beta(1/2, (d-1)/2)."""
    data = Rows.draw(4, 4).data
    fits = [RandomOrthogonal(seed=seed).fit(data) for seed in range(300)]
    draws = np.array([weight_of(fitted) / fitted.chosen()["scale"] for fitted in fits])
    for i, j in ((0, 0), (3, 1), (2, 3)):
        assert kstest(draws[:, i, j] ** 2, "beta", args=(0.5, 1.5)).pvalue > 1e-3
        assert abs(np.mean(draws[:, i, j] > 0) - 0.5) < 0.1
    assert abs(np.mean(np.linalg.det(draws) > 0) - 0.5) < 0.1, "reflections are half of O(d)"


def test_identity_moves_nothing_and_needs_equal_widths() -> None:
    rows = Rows.draw(6, 6)
    fitted = Identity().fit(rows.data)
    assert np.array_equal(fitted(rows.x), rows.x)
    assert np.array_equal(fitted.direction(rows.x), rows.x)
    with pytest.raises(MapError, match=r"\b6\b.*\b9\b"):
        Identity().fit(Rows.draw(6, 9).data)


KINDS = [
    OLS(),
    Ridge(),
    Ridge(penalty=1.0),
    Procrustes(),
    Procrustes(scaled=False),
    Procrustes(rotation=True),
    RandomOrthogonal(),
    LowRank(rank=6),
]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@widths
def test_laws_of_every_fitted_map(kind: Map, d_src: int, d_dst: int) -> None:
    rows = Rows.draw(d_src, d_dst)
    if kind == Procrustes(rotation=True) and d_src != d_dst:
        with pytest.raises(MapError, match=f"needs equal widths, and these models have {d_src} and {d_dst}"):
            kind.fit(rows.data)
        return
    fitted = kind.fit(rows.data)
    x, v = rows.x[:5], np.random.default_rng(0).normal(size=(5, d_src))
    np.testing.assert_allclose(fitted.direction(v), fitted(x + v) - fitted(x), atol=1e-9)
    np.testing.assert_allclose(fitted.direction(-2.5 * v), -2.5 * fitted.direction(v))
    assert not fitted.direction(np.zeros((1, d_src))).any(), "a direction has no origin"
    assert fitted(x.astype(np.float32)).dtype == fitted.direction(v.astype(np.float32)).dtype == np.float64
    np.testing.assert_allclose(fitted(rows.x.mean(0, keepdims=True)), rows.y.mean(0, keepdims=True))
    restored = kind.restore(fitted.arrays())
    assert np.array_equal(restored(x), fitted(x))
    if d_src <= d_dst:
        np.testing.assert_allclose(fitted.inverse()(fitted(rows.x)), rows.x, atol=1e-8)
        np.testing.assert_allclose(fitted.inverse().direction(fitted.direction(v)), v, atol=1e-9)
    else:
        with pytest.raises(MapError, match="loses 3 of 9 dimensions"):
            fitted.inverse()


def test_a_map_that_loses_dimensions_has_no_inverse() -> None:
    with pytest.raises(MapError, match="loses 4 of 6 dimensions"):
        LowRank(rank=2).fit(Rows.draw(6, 6).data).inverse()
    with pytest.raises(MapError, match="loses 3 of 3"):
        AffineMap(np.zeros((3, 3)), np.zeros(3), np.zeros(3)).inverse()


def test_restoring_from_other_arrays_is_refused() -> None:
    arrays = OLS().fit(Rows.draw(6, 9).data).arrays()
    with pytest.raises(MapError, match="weight, mean_src and mean_dst"):
        OLS().restore({"weight": arrays["weight"]})
    with pytest.raises(MapError, match=r"\(6, 9\).*\(9,\).*\(6,\)"):
        OLS().restore({**arrays, "mean_src": arrays["mean_dst"], "mean_dst": arrays["mean_src"]})
    with pytest.raises(MapError, match="NaN"):
        OLS().restore({**arrays, "weight": np.full_like(arrays["weight"], np.nan)})
