"""The map keeps the laws of its contract, and does what its name says."""

import numpy as np
import pytest
from bridge_whitened_procrustes import WhitenedProcrustes

from bridge.errors import MapError
from bridge.maps import TrainingData
from bridge.moments import Moments
from bridge.testing import check_map


def data_of(x: np.ndarray, y: np.ndarray) -> TrainingData:
    return TrainingData((Moments.of(x, y),), lambda: iter([(x, y)]))


def test_conformance() -> None:
    check_map(WhitenedProcrustes)


def test_recovers_a_rotation_of_a_stretched_stream() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 6)) @ np.diag([30, 10, 3, 1, 0.3, 0.1]) + 5
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    y = x @ rotation - 2
    np.testing.assert_allclose(WhitenedProcrustes().fit(data_of(x, y))(x), y, atol=1e-6)


def test_mapped_rows_have_the_destinations_covariance_whatever_the_noise() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(4000, 8)) * np.linspace(0.5, 20, 8)
    y = x[:, :5] @ rng.normal(size=(5, 5)) + 30 * rng.normal(size=(4000, 5)) + 100
    mapped = WhitenedProcrustes().fit(data_of(x, y))(x)
    np.testing.assert_allclose(np.cov(mapped.T), np.cov(y.T), rtol=1e-6, atol=1e-6 * np.var(y))
    np.testing.assert_allclose(mapped.mean(0), y.mean(0), rtol=1e-9)


def test_floor_keeps_dead_dimensions_from_blowing_up() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(500, 4)) * [1, 1, 1, 0]
    weight = WhitenedProcrustes().fit(data_of(x, x + 1)).weight
    assert np.abs(weight).max() < 2
    with pytest.raises(MapError, match="between 0 and 1"):
        WhitenedProcrustes(floor=0).fit(data_of(x, x))
    with pytest.raises(MapError, match="all alike"):
        WhitenedProcrustes().fit(data_of(x, np.ones((500, 3))))
