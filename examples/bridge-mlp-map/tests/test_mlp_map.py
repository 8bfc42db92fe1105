"""The map keeps the laws of its contract, finds what bends, and never does worse than ridge where it validates."""

import subprocess
import sys

import numpy as np
import pytest
from bridge_mlp_map import MLP, FittedMLP

from bridge.errors import MapError
from bridge.maps import TrainingData
from bridge.moments import Moments
from bridge.testing import conformance

test_laws = conformance("maps", "mlp")


def data_of(x: np.ndarray, y: np.ndarray, folds: int = 4) -> TrainingData:
    """Rows in folds, with a stream that counts how many rows it ever held at once."""
    parts = [(x[fold::folds], y[fold::folds]) for fold in range(folds)]
    blocks = [
        (fold, part_x[start : start + 100], part_y[start : start + 100])
        for fold, (part_x, part_y) in enumerate(parts)
        for start in range(0, len(part_x), 100)
    ]

    def stream(wanted=None, /):
        return ((a, b) for fold, a, b in blocks if wanted is None or fold in wanted)

    return TrainingData(tuple(Moments.of(*part) for part in parts), stream)


def bent(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A linear part, and half as much that no linear map can say; (rows, 6) and (rows, 8) float32."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 6))
    world = np.random.default_rng(100)
    y = x @ world.normal(size=(6, 8)) + 2 * np.abs(x) @ world.normal(size=(6, 8)) + 0.1 * rng.normal(size=(rows, 8))
    return (x * [1, 10, 1, 0.1, 1, 1] + 30).astype(np.float32), (5 * y - 100).astype(np.float32)


def ev(y: np.ndarray, guess: np.ndarray) -> float:
    return 1 - float(np.square(y - guess).sum() / np.square(y - y.mean(0)).sum())


@pytest.fixture(scope="module")
def fitted() -> FittedMLP:
    return MLP(hidden=64).fit(data_of(*bent(20_000)))


def test_it_says_what_no_linear_map_can(fitted: FittedMLP) -> None:
    x, y = bent(2000, seed=1)
    chosen = fitted.chosen()
    assert ev(y, fitted(x)) > chosen["linear_ev"] + 0.2
    assert ev(y, fitted(x)) == pytest.approx(chosen["ev"], abs=0.03)


def test_direction_is_the_mean_of_what_small_steps_do(fitted: FittedMLP) -> None:
    x, _ = bent(5000, seed=2)
    rng = np.random.default_rng(0)
    for v in rng.normal(size=(3, 6)) * [1, 10, 1, 0.1, 1, 1]:
        step = 1e-4 * v
        moved = ((fitted(x + step) - fitted(x - step)) / 2e-4).mean(0)
        np.testing.assert_allclose(fitted.direction(v[None])[0], moved, atol=0.05 * np.abs(moved).max())


def test_where_nothing_is_to_be_learnt_it_is_ridge() -> None:
    rng = np.random.default_rng(3)
    x, y = (rng.normal(size=(300, width)).astype(np.float32) for width in (6, 8))
    data = data_of(x, y)
    found = MLP().fit(data)
    assert found.chosen()["epoch"] == 0
    assert found.chosen()["ev"] == pytest.approx(found.chosen()["linear_ev"], abs=1e-5)
    np.testing.assert_allclose(found.direction(np.eye(6)), found.arrays()["weight"], atol=1e-12)


def test_nothing_is_trained_on_the_fold_that_stops() -> None:
    x, y = bent(2000)
    data = data_of(x, y)
    asked = []

    def watched(folds=None, /):
        asked.append(tuple(folds))
        return data.blocks(folds)

    MLP(hidden=4, epochs=1).fit(TrainingData(data.folds, watched))
    assert set(asked) == {(0,), (1, 2, 3)}


def test_seeds() -> None:
    data = data_of(*bent(2000))
    one, again, other = (MLP(hidden=8, epochs=1, seed=seed).fit(data).arrays() for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["inward"], other["inward"])


def test_what_cannot_be_is_refused(fitted: FittedMLP) -> None:
    x, y = bent(200)
    for options in ({"hidden": 0}, {"epochs": 0}):
        with pytest.raises(MapError, match="at least one"):
            MLP(**options).fit(data_of(x, y))
    with pytest.raises(MapError, match="second fold"):
        MLP().fit(data_of(x, y, folds=1))
    with pytest.raises(MapError, match="no inverse"):
        fitted.inverse()
    arrays = fitted.arrays()
    with pytest.raises(MapError, match="This map is"):
        MLP().restore({"weight": arrays["weight"]})
    with pytest.raises(MapError, match="slope of shape"):
        MLP().restore(arrays | {"slope": arrays["slope"][1:]})


def test_the_module_imports_without_torch() -> None:
    code = "import sys, bridge_mlp_map; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
