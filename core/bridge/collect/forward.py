"""The forward passes over the texts of one shard, in batches that depend on the texts and the settings alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import numpy as np

from bridge.collect.activations import ActivationSource, CollectSettings
from bridge.collect.batches import flat_places, on_device, pad
from bridge.collect.memory import Room, free_device_memory, out_of_memory
from bridge.collect.rows import ShardRows, norms_of
from bridge.corpus.documents import Document
from bridge.errors import BridgeError, ModelError
from bridge.pairing.align import Encoder
from bridge.references import Site

if TYPE_CHECKING:
    from torch import Tensor, device


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

    def run(self, sites: Sequence[Site], advance: Callable[[int], None]) -> tuple[ShardRows, int]:
        """Run all batches; return the kept rows, and how many batches were halved.

        Copies of the last rows from a device may not have ended.

        Args:
            sites: The sites.
            advance: Receives the number of texts of every batch.

        Raises:
            BridgeError: If one text alone does not fit into memory.
        """
        import torch

        lengths = [len(kept) for kept in self.kept]
        rows = ShardRows(lengths, self.source.d_model, getattr(torch, self.settings.dtype), sites)
        pending, halved = self._batches(), 0
        while pending:
            batch = pending.pop(0)
            if (found := self._try(batch, sites)) is None:
                half = len(batch) // 2
                pending[:0] = [batch[:half], batch[half:]]
                halved += 1
            else:
                rows.add(batch, found)
                advance(len(batch))
        return rows, halved

    def finished(self, rows: ShardRows, site: Site) -> dict[str, Tensor]:
        """Return the tensors of one site that are stored: `rows`, in the order of the documents, and their `norms`.

        Waits for copies from the device. May be called in another thread, for each site once.

        Raises:
            ModelError: If an activation is NaN or infinite.
        """
        ordered = rows.ordered(site)
        norms = norms_of(ordered)
        self._check_finite(norms, site)
        return {"rows": ordered, "norms": norms}

    def _try(self, batch: Sequence[int], sites: Sequence[Site]) -> list[Tensor] | None:
        """Run a batch of at least one text; return the kept rows of every site, or None if it did not fit."""
        tokens = len(batch) * max(len(self.encoded[i].ids) for i in batch)
        if len(batch) > 1 and not self.room.may_hold(tokens):
            return None
        try:
            return self._forward(batch, sites)
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
        return None

    def _forward(self, batch: Sequence[int], sites: Sequence[Site]) -> list[Tensor]:
        """Run a batch; return the kept rows of every site, (kept tokens, d_model), on the device of the site."""
        import torch

        ids, mask = pad([self.encoded[i].ids for i in batch])
        kept = flat_places([self.kept[i] for i in batch], ids.shape[1])
        places: dict[device, Tensor] = {}  # a model may be spread over several devices
        dtype, rows = getattr(torch, self.settings.dtype), []
        for output in self.source.activations(ids, mask, sites):
            if output.device not in places:
                places[output.device] = on_device(kept, output.device)
            rows.append(output.flatten(0, 1).index_select(0, places[output.device]).to(dtype))
        return rows

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
