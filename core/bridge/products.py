"""Where products of rows and eigendecompositions are computed: on the CPU by numpy, or on a CUDA device by torch.

Both multiply in the dtype of the rows and add up in float64. numpy's numbers do not depend on this module's other half.
"""

from __future__ import annotations

import contextlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from bridge.moments import Array

Block = NDArray[Any]

CHUNK = 2048
"""Rows per float32 product, before the float64 sum. Half as many make the error a tenth smaller (OpenBLAS itself adds
in panels of a few hundred rows) and the time a twentieth longer."""


class Products(ABC):
    """Adds up products of blocks of rows. Blocks and totals are of the kind that `placed` and `zeros` return."""

    device: str
    """Where, as torch names it."""

    tile: ClassVar[int]
    """Maximal number of columns of a product."""

    threads: ClassVar[int | None]
    """Maximal number of threads that may compute products at once; None for no limit."""

    @abstractmethod
    def zeros(self, rows: int, columns: int) -> Any:
        """Return a total of nothing, float64."""

    @abstractmethod
    def placed(self, block: Block) -> Any:
        """Return a block of rows where it is multiplied."""

    @abstractmethod
    def add(self, total: Any, left: Any, right: Any) -> None:
        """Add left'right to the total, in place; left is (n, total rows) and right (n, total columns), of one dtype."""

    @abstractmethod
    def exact(self, block: Any) -> Any:
        """Return a block in float64."""

    @abstractmethod
    def fetched(self, total: Any) -> Array:
        """Return a total as a numpy array."""

    @abstractmethod
    def decomposed(self, matrix: Array, other: Array) -> tuple[Array, Array, Array]:
        """Return eigenvalues and eigenvectors of a symmetric matrix, and another matrix in their basis, all in float64.

        Args:
            matrix: To decompose, (d, d).
            other: V' other V is returned for the eigenvectors V, (d, d).
        """

    def rounding(self, left: Any, right: Any) -> float:
        """Measure the error of `add` on float32 rows: its root mean square, in units of the columns' lengths."""
        single, double = (self.zeros(left.shape[1], right.shape[1]) for _ in range(2))
        self.add(single, left, right)
        exact = self.exact(left), self.exact(right)
        self.add(double, *exact)
        lengths = [np.linalg.norm(self.fetched(side), axis=0) for side in exact]
        off = self.fetched(single) - self.fetched(double)
        return float(np.sqrt(np.mean((off / np.maximum(np.outer(*lengths), np.finfo(float).tiny)) ** 2)))


@final
class HostProducts(Products):
    """numpy, with its linear algebra library."""

    device = "cpu"
    tile = 1792  # as fast as one whole product
    threads = None

    def zeros(self, rows: int, columns: int) -> Array:
        """Return zeros."""
        return np.zeros((rows, columns))

    def placed(self, block: Block) -> Block:
        """Return the block itself."""
        return block

    def add(self, total: Array, left: Block, right: Block) -> None:
        """Multiply chunks of rows."""
        product = np.empty(total.shape, left.dtype)
        for start in range(0, len(left), CHUNK):
            np.matmul(left[start : start + CHUNK].T, right[start : start + CHUNK], out=product)
            total += product

    def exact(self, block: Block) -> Array:
        """Convert."""
        return block.astype(np.float64)

    def fetched(self, total: Array) -> Array:
        """Return the total itself."""
        return total

    def decomposed(self, matrix: Array, other: Array) -> tuple[Array, Array, Array]:
        """Use numpy's eigh, which lets other threads run."""
        values, vectors = np.linalg.eigh(matrix)
        return values, vectors, vectors.T @ other @ vectors


@final
class DeviceProducts(Products):
    """torch, in full float32 whatever TF32 is set to; also on the CPU, for tests.

    Args:
        device: As torch names it; it must have float64.
    """

    tile = sys.maxsize  # every block is copied to the device once
    threads = 1

    def __init__(self, device: str) -> None:
        self.device = device

    def zeros(self, rows: int, columns: int) -> Any:
        """Return zeros on the device."""
        import torch

        return torch.zeros((rows, columns), dtype=torch.float64, device=self.device)

    def placed(self, block: Block) -> Any:
        """Copy the block to the device."""
        import torch

        return torch.from_numpy(np.ascontiguousarray(block)).to(self.device)

    def add(self, total: Any, left: Any, right: Any) -> None:
        """Multiply chunks of rows."""
        with full_float32():
            for start in range(0, len(left), CHUNK):
                total += left[start : start + CHUNK].T @ right[start : start + CHUNK]

    def exact(self, block: Any) -> Any:
        """Convert on the device."""
        return block.double()

    def fetched(self, total: Any) -> Array:
        """Copy the total to the host."""
        found: Array = total.cpu().numpy()
        return found

    def decomposed(self, matrix: Array, other: Array) -> tuple[Array, Array, Array]:
        """Use torch's eigh on the device."""
        import torch

        values, vectors = torch.linalg.eigh(self.placed(matrix))
        return self.fetched(values), self.fetched(vectors), self.fetched(vectors.T @ self.placed(other) @ vectors)


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Let torch multiply float32 with all of its 24 bits: TF32 would keep 11, an error of 5e-4."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def products_on(device: str) -> Products:
    """Return where products are computed for models on a device: on CUDA devices themselves, else on the CPU.

    Args:
        device: As torch names it. Apple's `mps` has no float64.
    """
    return DeviceProducts(device) if device.startswith("cuda") else HostProducts()
