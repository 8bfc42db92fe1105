"""The kept rows of one shard: they leave the device batch by batch, and are put in the order of the documents later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.references import Site

if TYPE_CHECKING:
    from torch import Tensor, dtype

CHUNK = 1024
"""Rows whose norms are computed at once: in the processor's cache, and without a float32 copy of the shard."""


def norms_of(rows: Tensor) -> Tensor:
    """Return the norm of every row in float32, (rows,)."""
    import torch

    return torch.cat([torch.linalg.vector_norm(some.float(), dim=1) for some in torch.split(rows, CHUNK)])


@final
class ShardRows:
    """The kept rows of one shard at some sites, on the host, in the order in which batches were run.

    From a CUDA device rows are copied into pinned memory, and the copy of one batch overlaps the next forward pass.
    Only `ordered` waits for the copies; it may be called in another thread once all batches are added.

    Args:
        lengths: Number of kept tokens of every document of the shard.
        d_model: Width of the rows.
        dtype: Dtype of the rows.
        sites: The sites.
    """

    def __init__(self, lengths: Sequence[int], d_model: int, dtype: dtype, sites: Sequence[Site]) -> None:
        self.sites = sites
        self._lengths = np.asarray(lengths, np.int64)
        self._shape = (int(self._lengths.sum()), d_model)
        self._dtype = dtype
        self._begins = np.zeros(len(lengths), np.int64)
        self._filled = 0
        self._host: dict[Site, Tensor] = {}
        self._copied: dict[object, object] = {}

    def add(self, documents: Sequence[int], rows: Sequence[Tensor]) -> None:
        """Add the rows of one batch.

        Args:
            documents: Numbers of the batch's documents in the shard, in the order of their rows.
            rows: For each site (kept tokens, d_model), on any device.
        """
        begin = self._filled
        for document in documents:
            self._begins[document] = self._filled
            self._filled += int(self._lengths[document])
        for site, some in zip(self.sites, rows, strict=True):
            host = self._host[site] if site in self._host else self._reserve(site, pinned=some.is_cuda)
            host[begin : self._filled].copy_(some, non_blocking=some.is_cuda)
            if some.is_cuda:
                import torch

                self._copied[some.device] = torch.cuda.current_stream(some.device).record_event()

    def ordered(self, site: Site) -> Tensor:
        """Return the rows of one site in the order of the documents, (rows, d_model), and release its buffer."""
        import torch

        for event in self._copied.values():
            event.synchronize()  # type: ignore[attr-defined]
        host = self._host.pop(site, None)
        if host is None:  # no document has a token
            return torch.empty(self._shape, dtype=self._dtype)
        return host.index_select(0, torch.from_numpy(self._places()))

    def _places(self) -> NDArray[np.int64]:
        """Return where the row of every kept token is, in the order of the documents."""
        starts = np.cumsum(self._lengths) - self._lengths
        places: NDArray[np.int64] = np.arange(self._shape[0]) + np.repeat(self._begins - starts, self._lengths)
        return places

    def _reserve(self, site: Site, pinned: bool) -> Tensor:
        import torch

        self._host[site] = torch.empty(self._shape, dtype=self._dtype, pin_memory=pinned)
        return self._host[site]
