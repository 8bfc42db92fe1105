"""Writing of one shard's files in the background, while the model runs the next shard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import final

from bridge.claims import Claim
from bridge.collect.forward import ShardPasses
from bridge.collect.rows import ShardRows
from bridge.references import Site
from bridge.store import Artifact

MOST_THREADS = 4
"""Maximal number of sites that are written at once: each needs memory for its rows once more, in order, and for their
norms."""


@final
class ShardWriter:
    """Writes the files of one shard in threads; its claims are held until that has ended.

    The threads wait for copies from the device, put rows in order, compute norms, hash and write. All of it releases
    the interpreter's lock.

    Args:
        index: Number of the shard.
        artifacts: The artifact of every site that lacks the shard.
        passes: The shard's forward passes.
        rows: What they gave.
        halved: How many batches were halved.
        claims: The claims that were taken, by site; each is released when its file is written or has failed.
    """

    def __init__(
        self,
        index: int,
        artifacts: Mapping[Site, Artifact],
        passes: ShardPasses,
        rows: ShardRows,
        halved: int,
        claims: Mapping[Site, Claim],
    ) -> None:
        self.index = index
        self.sites = list(artifacts)
        self._artifacts, self._passes, self._rows, self._halved, self._claims = artifacts, passes, rows, halved, claims
        pool = ThreadPoolExecutor(1)
        self._all: Future[None] = pool.submit(self._write_all)
        pool.shutdown(wait=False)

    def ended(self) -> bool:
        """Tell, without waiting, whether all files are written, or one of them could not be."""
        return self._all.done()

    def finish(self) -> None:
        """Wait until all files are written.

        Raises:
            ModelError: If an activation is NaN or infinite.
            StoreError: If the disk is full or read-only.
        """
        self._all.result()

    def _write_all(self) -> None:
        threads = min(MOST_THREADS, len(self.sites), max(1, (os.cpu_count() or 1) // 2))
        with ExitStack() as claimed:
            for claim in self._claims.values():
                claimed.callback(claim.release)
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(self._write, self.sites))

    def _write(self, site: Site) -> None:
        from threadpoolctl import threadpool_limits

        # The limit holds for this thread alone: the cores belong to the forward passes.
        with threadpool_limits(1, user_api="openmp"):
            tensors = self._passes.finished(self._rows, site)
        artifact, index = self._artifacts[site], self.index
        # If this worker was so slow that another one took over and finished, the first result stays.
        if not (artifact.has(index) and artifact.length(index, "rows") == len(tensors["rows"])):
            if index == 0:  # written once, by the holder of one claim
                artifact.describe()
            artifact.write(index, tensors, {"halved": self._halved})
        self._claims[site].release()  # at once: a process that is killed leaves no claim of a file that is complete
