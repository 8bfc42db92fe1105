"""Products on a device: torch's numbers against numpy's, on the CPU; numpy's are as before."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from bridge.maps import AffineMap
from bridge.pipeline.fit.training_data import mispaired_data, training_data
from bridge.precision import TOLERANCE, expected_error
from bridge.products import DeviceProducts, HostProducts, products_on
from bridge.row_sums import RowSums
from bridge.scorers import Rows
from bridge.workers import Workers
from bridge_maps.ridge import Ridge

WIDTHS, FOLDS = (260, 256), range(3)
TORCH = DeviceProducts("cpu")


class Drawn:
    """Rows with large means in parts of 1,000."""

    def __init__(self, spectrum: float) -> None:
        rng = np.random.default_rng(0)
        turn = np.linalg.qr(rng.normal(size=(WIDTHS[0], WIDTHS[0])))[0]
        x = rng.normal(size=(6000, WIDTHS[0])) * np.geomspace(1, spectrum, WIDTHS[0]) @ turn + 3
        y = (x - 3) @ rng.normal(size=WIDTHS) / 16 + rng.normal(size=(6000, WIDTHS[1])) - 5
        self.x, self.y = x.astype(np.float32), y.astype(np.float32)

    def parts(self, folds: object) -> Iterator[tuple[int, Rows]]:
        for number, start in enumerate(range(0, len(self.x), 1000)):
            x, y = self.x[start : start + 1000], self.y[start : start + 1000]
            yield number % 3, Rows(x, y, np.arange(1000) // 100, np.zeros(1000, bool))


@pytest.mark.parametrize(("spectrum", "dtype"), [(1.0, "float32"), (1e-3, "float64")])
def test_torch_gives_numpys_moments_and_measures_its_own_error(spectrum: float, dtype: str) -> None:
    rows = Drawn(spectrum)
    host, device = (training_data(rows, *WIDTHS, FOLDS, products=where) for where in (None, TORCH))
    assert host.products == device.products == dtype
    tolerance = 1e-12 if dtype == "float64" else 1e-6
    for found, expected in zip((*device.folds, device.moments), (*host.folds, host.moments), strict=True):
        assert found.n == expected.n
        np.testing.assert_allclose(found.mean_x, expected.mean_x, rtol=1e-12)
        for name in ("xx", "xy", "yy"):
            one, other = getattr(found, name), getattr(expected, name)
            assert np.abs(one - other).max() <= tolerance * np.abs(other).max()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_error_is_that_against_float64(dtype: type[np.floating]) -> None:
    rows = Drawn(1.0)
    with Workers(1) as workers:
        sums = RowSums(*WIDTHS, dtype, workers, products=TORCH)
        for _, part in rows.parts(FOLDS):
            sums.add(part.x, part.y)
    x, y = (side - side.mean(0) for side in (rows.x.astype(np.float64), rows.y.astype(np.float64)))
    lengths = np.outer(np.linalg.norm(x, axis=0), np.linalg.norm(y, axis=0))
    off = float(np.sqrt(np.mean(((sums.product(0, 1) - x.T @ y) / lengths) ** 2)))
    if dtype is np.float64:
        assert off < 1e-15
    else:
        assert 0.3 < sums.rounding() / off < 3, "the measured error is the real one"
        assert expected_error(sums.moments(), sums.rounding()) < TOLERANCE


def test_tf32_is_off_while_rows_are_multiplied_and_restored_after(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    class Spy:
        """A block that looks at the setting when it is multiplied."""

        shape = (4, 2)

        def __len__(self) -> int:
            return 4

        def __getitem__(self, rows: slice) -> Spy:
            return self

        @property
        def T(self) -> Spy:
            return self

        def __matmul__(self, other: object) -> torch.Tensor:
            seen.append((torch.get_float32_matmul_precision(), torch.backends.cuda.matmul.allow_tf32))
            return torch.ones(2, 2)

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        TORCH.add(torch.zeros(2, 2, dtype=torch.float64), Spy(), Spy())
        assert seen == [("highest", False)]
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_ridge_is_the_same_on_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = Drawn(1.0)
    host = training_data(rows, *WIDTHS, FOLDS)
    expected = Ridge().fit_each([host, mispaired_data(rows, host, FOLDS)])
    monkeypatch.setattr("bridge.pipeline.fit.training_data.products_on", lambda device: TORCH)
    monkeypatch.setattr("bridge_maps.ridge.products_on", lambda device: TORCH)
    device = training_data(rows, *WIDTHS, FOLDS, products=TORCH)
    found = Ridge().fit_each([device, mispaired_data(rows, device, FOLDS)])
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, AffineMap) and isinstance(other, AffineMap)
        assert one.chosen() == pytest.approx(other.chosen(), rel=1e-6)
        assert np.abs(one.weight - other.weight).max() <= 1e-6 * np.abs(other.weight).max()


def test_only_cuda_is_a_device_for_products() -> None:
    assert isinstance(products_on("cpu"), HostProducts)
    assert isinstance(products_on("mps"), HostProducts), "it has no float64"
    cuda = products_on("cuda:1")
    assert isinstance(cuda, DeviceProducts)
    assert (cuda.device, cuda.threads) == ("cuda:1", 1)
    data = training_data(Drawn(1.0), *WIDTHS, FOLDS)
    assert data.device == data.reversed().device == "cpu"
