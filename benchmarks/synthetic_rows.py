"""Paired rows to fit on, made block by block: like those of a real pair, or harder to invert.

`real` has the spectrum that correlations had between the 576 and 640 dimensions of SmolLM2@19 and Gemma 3@12 (condition
numbers 400 and 4,000), with three fifths of each shared direction's variance in common. `steep` has a few directions
that hold most of the variance, then a power law down to a floor of noise (condition number 800,000), and half of the
destination's variance is noise. Row i depends on the seed and i alone.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.scorers import Rows

FOLDS = 5
BLOCK = 4096
"""Rows at a time: about what one shard of a collection adds to one fold."""

QUANTILES = np.array([0, 1, 4, 16, 64, 128, 256, 512, 575]) / 575
SPECTRA = [10.6, 9.2, 6.9, 4.2, 2.0, 1.2, 0.69, 0.24, 0.027], [17.5, 10.2, 8.0, 4.8, 2.1, 1.3, 0.74, 0.27, 0.0043]
SHARED, RANK = 0.6, 160

Float32 = NDArray[np.float32]


@final
class SyntheticRows:
    """Makes the rows anew each time they are asked for; block i belongs to fold i % FOLDS.

    Attributes:
        n: Number of rows.
        widths: Of the source and of the destination.
        wall: Seconds spent making rows.
        cpu: Processor seconds spent making rows.
    """

    def __init__(self, n: int, d_src: int, d_dst: int, like: str = "real", seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.n, self.widths = n, (d_src, d_dst)
        self.wall = self.cpu = 0.0
        self._seed, self._make = seed, {"real": self._real, "steep": self._steep}[like]
        self._power = np.arange(1, RANK + 1) ** -0.7
        self._bases = [
            (self._power[:, None] * rng.standard_normal((RANK, width))).astype(np.float32) for width in self.widths
        ]
        self._means = [3 * rng.standard_normal(width).astype(np.float32) for width in self.widths]
        self._scales = [
            np.exp(np.interp(np.linspace(0, 1, width), QUANTILES, np.log(values)) / 2).astype(np.float32)
            for width, values in zip(self.widths, SPECTRA, strict=True)
        ]

    def blocks(self) -> Iterator[tuple[Float32, Float32]]:
        """Yield blocks of paired rows, (n, d_src) and (n, d_dst)."""
        for index, start in enumerate(range(0, self.n, BLOCK)):
            wall, cpu = time.perf_counter(), time.process_time()
            x, y = self._make(np.random.default_rng((self._seed, index)), min(BLOCK, self.n - start))
            x += self._means[0]
            y += self._means[1]
            self.wall += time.perf_counter() - wall
            self.cpu += time.process_time() - cpu
            yield x, y

    def parts(self, folds: Collection[int]) -> Iterator[tuple[int, Rows]]:
        """Yield blocks with their folds, as `PairedRows` does: documents of 128 rows, no outliers."""
        for index, (x, y) in enumerate(self.blocks()):
            if index % FOLDS in folds:
                yield index % FOLDS, Rows(x, y, np.arange(len(x)) // 128, np.zeros(len(x), bool))

    def _real(self, rng: np.random.Generator, n: int) -> tuple[Float32, Float32]:
        """Independent directions of the spectrum's variances, turned by a cosine transform."""
        from scipy.fft import dct

        x, y = (rng.standard_normal((n, width), dtype=np.float32) for width in self.widths)
        shared = min(self.widths)
        y[:, :shared] *= np.float32(np.sqrt(1 - SHARED))
        y[:, :shared] += np.float32(np.sqrt(SHARED)) * x[:, :shared]
        x, y = (
            dct(side * scale, axis=1, norm="ortho", overwrite_x=True)
            for side, scale in zip((x, y), self._scales, strict=True)
        )
        return x, y

    def _steep(self, rng: np.random.Generator, n: int) -> tuple[Float32, Float32]:
        latent = rng.standard_normal((n, RANK), dtype=np.float32)
        noise = np.float32(0.05), np.float32(np.sqrt(np.sum(self._power**2)))
        x, y = (
            latent @ basis + scale * rng.standard_normal((n, basis.shape[1]), dtype=np.float32)
            for basis, scale in zip(self._bases, noise, strict=True)
        )
        return x, y
