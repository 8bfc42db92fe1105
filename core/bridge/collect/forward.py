"""The forward passes over the texts of one shard, in batches that depend on the texts and the settings alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from bridge.collect.activations import ActivationSource, CollectSettings
from bridge.collect.batches import pad
from bridge.collect.memory import Room, free_device_memory, out_of_memory
from bridge.corpus.documents import Document
from bridge.errors import BridgeError, ModelError
from bridge.pairing.align import Encoder
from bridge.references import Site

if TYPE_CHECKING:
    from torch import Tensor


@final
class ShardPasses:
    """The tokenised texts of one shard, and the forward passes over them.

    A batch that does not fit into memory runs as two halves, and so on. The batches of other shards have no influence:
    the same shard on a machine with the same memory has the same batches, whichever worker makes it.

    Args:
        source: The loaded model.
        documents: The shard's texts.
        settings: The settings of the forward passes.
        encoder: Tokenises the texts.
        room: What this worker knows about the memory.
    """

    def __init__(
        self,
        source: ActivationSource,
        documents: Sequence[Document],
        settings: CollectSettings,
        encoder: Encoder,
        room: Room,
    ) -> None:
        self.source = source
        self.settings = settings
        self.documents = documents
        self.room = room
        self.encoded = encoder.encode(documents, settings.max_tokens)
        self.kept = [encoded.kept for encoded in self.encoded]
        self.starts = np.cumsum([0, *(len(kept) for kept in self.kept)])

    def run(self, sites: Sequence[Site], advance: Callable[[int], None]) -> tuple[dict[Site, dict[str, Tensor]], int]:
        """Return the rows and norms of every site, and how many batches were halved.

        Args:
            sites: The sites.
            advance: Receives the number of texts of every batch.

        Raises:
            BridgeError: If one text alone does not fit into memory.
            ModelError: If an activation is NaN or infinite.
        """
        import torch

        dtype = getattr(torch, self.settings.dtype)
        shape = (int(self.starts[-1]), self.source.d_model)
        rows = {site: torch.empty(shape, dtype=dtype) for site in sites}
        pending, halved = self._batches(), 0
        while pending:
            batch = pending.pop(0)
            if self._fits(batch, rows):
                advance(len(batch))
            else:
                half = len(batch) // 2
                pending[:0] = [batch[:half], batch[half:]]
                halved += 1
        norms = {site: torch.linalg.vector_norm(rows[site].float(), dim=1) for site in sites}
        for site in sites:
            self._check_finite(norms[site], site)
        return {site: {"rows": rows[site], "norms": norms[site]} for site in sites}, halved

    def _fits(self, batch: Sequence[int], rows: Mapping[Site, Tensor]) -> bool:
        """Run a batch of at least one text; tell whether it fitted into memory."""
        tokens = len(batch) * max(len(self.encoded[i].ids) for i in batch)
        if len(batch) > 1 and not self.room.may_hold(tokens):
            return False
        try:
            self._forward(batch, rows)
            return True
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            if len(batch) == 1:
                raise BridgeError(
                    f"One text of {tokens} tokens does not fit into memory.",
                    remedy="Lower --max-tokens, use --dtype bfloat16, or a larger device.",
                ) from error
        free_device_memory()  # outside the except block, where the error no longer references the batch's tensors
        self.room.ran_out(tokens)
        return False

    def _forward(self, batch: Sequence[int], rows: Mapping[Site, Tensor]) -> None:
        ids, mask = pad([self.encoded[i].ids for i in batch])
        outputs = self.source.activations(ids, mask, list(rows))
        for site, output in zip(rows, outputs, strict=True):
            host = output.to("cpu")
            for row, i in enumerate(batch):
                rows[site][self.starts[i] : self.starts[i + 1]] = host[row, self.kept[i]].to(rows[site].dtype)

    def _batches(self) -> list[list[int]]:
        batches: list[list[int]] = []
        nonempty = (i for i, encoded in enumerate(self.encoded) if len(encoded.ids))
        for i in sorted(nonempty, key=lambda i: (len(self.encoded[i].ids), i)):
            # The texts come by length, so the last one is the longest.
            if batches and self.settings.allows(len(batches[-1]) + 1, len(self.encoded[i].ids)):
                batches[-1].append(i)
            else:
                batches.append([i])
        return batches

    def _check_finite(self, norms: Tensor, site: Site) -> None:
        bad = np.flatnonzero(~np.isfinite(norms.numpy()))
        if len(bad) == 0:
            return
        document = int(np.searchsorted(self.starts, bad[0], side="right")) - 1
        position = int(self.kept[document][bad[0] - self.starts[document]])
        excerpt = self.documents[document].text[:60]
        raise ModelError(
            f"{self.source.name} gives NaN or infinite activations at site {site}: {len(bad)} of {len(norms)} rows, "
            f"the first at token {position} of the document {excerpt!r}.",
            cause="The weights are damaged, or the residual stream overflows the dtype.",
            remedy="Try --dtype float32, another site, or download the weights again.",
        )
