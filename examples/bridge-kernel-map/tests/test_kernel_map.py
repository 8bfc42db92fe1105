"""The map keeps the laws of its contract, is scikit-learn's, and finds what bends."""

import subprocess
import sys

import numpy as np
import pytest
from bridge_kernel_map import Kernel
from bridge_kernel_map.fitted import FittedKernel

from bridge.errors import MapError
from bridge.maps import TrainingData
from bridge.moments import Moments
from bridge.testing import conformance

test_laws = conformance("maps", "kernel")
D_SRC, D_DST = 6, 8


def data_of(x: np.ndarray, y: np.ndarray, folds: int = 4) -> TrainingData:
    """Rows in folds, streamed by a hundred."""
    blocks = [
        (fold, x[fold::folds][start : start + 100], y[fold::folds][start : start + 100])
        for fold in range(folds)
        for start in range(0, len(x[fold::folds]), 100)
    ]

    def stream(wanted=None, /):
        return ((a, b) for fold, a, b in blocks if wanted is None or fold in wanted)

    return TrainingData(tuple(Moments.of(x[fold::folds], y[fold::folds]) for fold in range(folds)), stream)


def bent(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A linear part, and half as much that no linear map can say; float32."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, D_SRC))
    world = np.random.default_rng(100)
    y = x @ world.normal(size=(D_SRC, D_DST)) + 2 * np.abs(x) @ world.normal(size=(D_SRC, D_DST))
    y += 0.1 * rng.normal(size=y.shape)
    return (x * [1, 10, 1, 0.1, 1, 1] + 30).astype(np.float32), (5 * y - 100).astype(np.float32)


def ev(y: np.ndarray, guess: np.ndarray) -> float:
    return 1 - float(np.square(y - guess).sum() / np.square(y - y.mean(0)).sum())


@pytest.fixture(scope="module")
def fitted() -> FittedKernel:
    return Kernel(landmarks=256).fit(data_of(*bent(8000)))


def test_it_says_what_no_linear_map_can(fitted: FittedKernel) -> None:
    x, y = bent(2000, seed=1)
    linear = Kernel(landmarks=2, width=1e6).fit(data_of(*bent(8000)))
    assert ev(y, fitted(x)) > ev(y, linear(x)) + 0.2
    assert fitted.chosen()["cross_validated_ev"] == pytest.approx(ev(y, fitted(x)), abs=0.03)


def test_it_is_ridge_on_scikit_learns_features(fitted: FittedKernel) -> None:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import Ridge

    x, y = bent(8000)
    a = fitted.arrays()
    z = (x - a["mean_src"]) / a["scale"]
    kernel = Nystroem(gamma=float(a["gamma"]), n_components=256, random_state=0).fit(a["landmarks"])
    features = np.hstack([z, kernel.transform(z)])
    unit = np.square(features - features.mean(0)).sum() / features.shape[1]
    reference = Ridge(alpha=fitted.chosen()["penalty"] * unit).fit(features, y.astype(np.float64))
    np.testing.assert_allclose(fitted(x), reference.predict(features), rtol=1e-6, atol=1e-4)


def test_direction_is_the_mean_of_what_small_steps_do(fitted: FittedKernel) -> None:
    a = fitted.arrays()
    rows = a["landmarks"] * a["scale"] + a["mean_src"]
    for v in np.random.default_rng(0).normal(size=(3, D_SRC)) * [1, 10, 1, 0.1, 1, 1]:
        moved = (fitted(rows + 1e-4 * v) - fitted(rows - 1e-4 * v)).mean(0) / 2e-4
        np.testing.assert_allclose(fitted.direction(v[None])[0], moved, rtol=1e-4, atol=1e-4)


def test_fewer_rows_than_landmarks() -> None:
    x, y = bent(80)
    assert Kernel().fit(data_of(x, y)).arrays()["landmarks"].shape == (80, D_SRC)


def test_seeds() -> None:
    data = data_of(*bent(800))
    one, again, other = (Kernel(landmarks=8, seed=seed).fit(data).arrays() for seed in (0, 0, 1))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert not np.array_equal(one["landmarks"], other["landmarks"])


def test_what_cannot_be_is_refused(fitted: FittedKernel) -> None:
    x, y = bent(200)
    for options in ({"landmarks": 1}, {"width": 0.0}):
        with pytest.raises(MapError, match="at least two landmarks"):
            Kernel(**options).fit(data_of(x, y))
    with pytest.raises(MapError, match="two folds"):
        Kernel().fit(data_of(x, y, folds=1))
    with pytest.raises(MapError, match="all alike"):
        Kernel().fit(data_of(np.ones_like(x), y))
    with pytest.raises(MapError, match="no inverse"):
        fitted.inverse()
    arrays = fitted.arrays()
    with pytest.raises(MapError, match="This map is"):
        Kernel().restore({"weight": arrays["weight"]})
    with pytest.raises(MapError, match="readout of shape"):
        Kernel().restore(arrays | {"readout": arrays["readout"][1:]})


def test_the_module_imports_without_scikit_learn() -> None:
    code = "import sys, bridge_kernel_map; sys.exit(bool({'torch', 'sklearn', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
