"""Collection of one model's activations into the store: one forward pass per text for any number of sites."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, final

import numpy as np

from bridge.collect.batches import pad
from bridge.collect.memory import free_device_memory, out_of_memory
from bridge.corpus.documents import Corpus, Document
from bridge.corpus.shards import SHARD_CHARACTERS, shards
from bridge.errors import BridgeError, ModelError
from bridge.pairing.align import Encoder
from bridge.progress import Progress
from bridge.references import Site
from bridge.store import Artifact, Store

if TYPE_CHECKING:
    from torch import Tensor


TOKENS_PER_BATCH = {"cpu": 1024, "mps": 4096, "cuda": 16384}
"""Padded tokens per forward pass if the user sets no batch size; halved when memory runs out. On a CPU small batches
are as fast as large ones and have less padding."""


class ActivationSource(Encoder, Protocol):
    """The interface of a loaded model for collection."""

    name: str
    d_model: int

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run a padded batch, ids and mask of shape (batch, tokens); return (batch, tokens, d_model) for each site."""


@final
@dataclass(frozen=True)
class CollectSettings:
    """The settings that the collected activations depend on, besides model, site and corpus.

    Attributes:
        dtype: `bfloat16` or `float32`, for the forward pass and the stored rows. float16 is not allowed: the residual
            norms of Gemma reach 1e5 to 1e6 and overflow.
        max_tokens: Number of tokens after which texts are cut, special tokens included.
        batch_size: Maximal number of texts per forward pass, or None for the number that `TOKENS_PER_BATCH` allows.
        device: Kind of device: `cpu`, `mps` or `cuda`, which round differently.
    """

    dtype: str
    max_tokens: int
    batch_size: int | None = None
    device: str = "cpu"


def activations_artifact(store: Store, model: str, site: Site, corpus: Corpus, settings: CollectSettings) -> Artifact:
    """Return the artifact of one model's activations at one site over one corpus.

    Args:
        store: The store.
        model: Family and identity of the weights (a content hash, or hub id and commit).
        site: The site.
        corpus: The texts.
        settings: The settings of the forward passes.

    Returns:
        The artifact: a shard for each of `shards(corpus, max_tokens)` with `rows` (n, d_model), the kept tokens
        of the chunk's documents in order, and `norms` (n,) float32.
    """
    return store.artifact(
        "activations",
        {
            "model": model,
            "site": str(site),
            "point": site.point,
            "corpus": corpus.identity,
            "shard_characters": SHARD_CHARACTERS,
            "dtype": settings.dtype,
            "max_tokens": settings.max_tokens,
            "batch": settings.batch_size or {"tokens": TOKENS_PER_BATCH[settings.device]},
            "device": settings.device,
            "transformers": version("transformers"),
        },
    )


def collect(
    load: Callable[[], ActivationSource],
    name: str,
    artifacts: Mapping[Site, Artifact],
    corpus: Corpus,
    settings: CollectSettings,
    progress: Progress,
    encoder: Encoder | None = None,
) -> None:
    """Fill the artifacts of one model's sites; the model is loaded only if a shard is missing.

    An interrupted run continues after the last finished shard with the same batches, so the result has the same bits. A
    second process that needs the same artifacts waits for the first and then reads them.

    Args:
        load: Loads the model.
        name: Name of the model in progress and errors.
        artifacts: The artifact of each site.
        corpus: The texts.
        settings: The settings of the forward passes.
        progress: Receives every finished shard.
        encoder: Tokenises the texts; default: the model itself.

    Raises:
        ModelError: If an activation is NaN or infinite.
        StoreError: If the disk is full or read-only.
    """
    chunks = shards(corpus, settings.max_tokens)
    with contextlib.ExitStack() as locks:
        for artifact in sorted(artifacts.values(), key=lambda artifact: artifact.path):
            locks.enter_context(artifact.lock())
        lacking = _lacking(artifacts, encoder, corpus, chunks, settings)
        sites = sorted((site for site in artifacts if lacking[site]), key=lambda site: site.order)
        if len(sites) < len(artifacts):
            found = ", ".join(str(site) for site in artifacts if not lacking[site])
            progress.note(f"{name}: activations at {found} are in the cache.")
        if not sites:
            return
        todo = sorted({index for site in sites for index in lacking[site]})
        targets = [artifacts[site] for site in sites]
        source = load()
        for artifact in targets:
            artifact.describe()
        budget = settings.batch_size or TOKENS_PER_BATCH[settings.device]
        with progress.stage(f"collect {name}", sum(len(chunks[index]) for index in todo), "texts") as advance:
            done = -1
            for index in todo:
                if index and done != index - 1 and targets[0].has(index - 1):
                    budget = int(targets[0].info(index - 1)["budget"])
                documents = [corpus.documents[i] for i in chunks[index]]
                shard = _Shard(source, documents, settings, encoder or source)
                rows, budget = shard.run(sites, budget, advance)
                for site, artifact in zip(sites, targets, strict=True):
                    artifact.write(index, rows[site], {"budget": budget})
                done = index


def _lacking(
    artifacts: Mapping[Site, Artifact],
    encoder: Encoder | None,
    corpus: Corpus,
    chunks: Sequence[range],
    settings: CollectSettings,
) -> dict[Site, list[int]]:
    """Return the shards that each site's artifact does not hold."""
    wanted = functools.cache(lambda index: _rows(encoder, corpus, chunks[index], settings))
    return {
        site: [index for index in range(len(chunks)) if not _holds(artifact, index, wanted)]
        for site, artifact in artifacts.items()
    }


def _rows(encoder: Encoder | None, corpus: Corpus, chunk: range, settings: CollectSettings) -> int | None:
    """Return the required number of rows of a shard; None if only the loaded model can tokenise."""
    if encoder is None:
        return None
    return sum(len(one.kept) for one in encoder.encode([corpus.documents[i] for i in chunk], settings.max_tokens))


def _holds(artifact: Artifact, index: int, rows: Callable[[int], int | None]) -> bool:
    """Tell whether a shard exists and has a row for every token; older versions may have stored fewer rows."""
    return artifact.has(index) and rows(index) in (None, artifact.length(index, "rows"))


@final
class _Shard:
    """The tokenised texts of one shard, and the forward passes over them."""

    def __init__(
        self, source: ActivationSource, documents: Sequence[Document], settings: CollectSettings, encoder: Encoder
    ) -> None:
        self.source = source
        self.settings = settings
        self.documents = documents
        self.encoded = encoder.encode(documents, settings.max_tokens)
        self.kept = [encoded.kept for encoded in self.encoded]
        self.starts = np.cumsum([0, *(len(kept) for kept in self.kept)])

    def run(
        self, sites: Sequence[Site], budget: int, advance: Callable[[int], None]
    ) -> tuple[dict[Site, dict[str, Tensor]], int]:
        """Return the rows and norms of every site, and the batch budget that fitted into memory."""
        import torch

        dtype = getattr(torch, self.settings.dtype)
        shape = (int(self.starts[-1]), self.source.d_model)
        rows = {site: torch.empty(shape, dtype=dtype) for site in sites}
        pending = self._batches(range(len(self.encoded)), budget)
        while pending:
            batch = pending.pop(0)
            try:
                self._forward(batch, rows)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if len(batch) == 1:
                    raise BridgeError(
                        f"One text of {len(self.encoded[batch[0]].ids)} tokens does not fit into memory.",
                        remedy="Lower --max-tokens, use --dtype bfloat16, or a larger device.",
                    ) from error
                budget = self._cost(batch) // 2
                pending = self._batches([*batch, *(i for later in pending for i in later)], budget)
                fitted = False
            else:
                advance(len(batch))
                fitted = True
            if not fitted:  # outside the except block, where the error no longer references the batch's tensors
                free_device_memory()
        norms = {site: torch.linalg.vector_norm(rows[site].float(), dim=1) for site in sites}
        for site in sites:
            self._check_finite(norms[site], site)
        return {site: {"rows": rows[site], "norms": norms[site]} for site in sites}, budget

    def _forward(self, batch: Sequence[int], rows: Mapping[Site, Tensor]) -> None:
        ids, mask = pad([self.encoded[i].ids for i in batch])
        outputs = self.source.activations(ids, mask, list(rows))
        for site, output in zip(rows, outputs, strict=True):
            host = output.to("cpu")
            for row, i in enumerate(batch):
                rows[site][self.starts[i] : self.starts[i + 1]] = host[row, self.kept[i]].to(rows[site].dtype)

    def _cost(self, batch: Sequence[int]) -> int:
        longest = max(len(self.encoded[i].ids) for i in batch)
        return len(batch) if self.settings.batch_size else len(batch) * longest

    def _batches(self, indices: Sequence[int], budget: int) -> list[list[int]]:
        batches: list[list[int]] = []
        nonempty = (i for i in indices if len(self.encoded[i].ids))
        for i in sorted(nonempty, key=lambda i: (len(self.encoded[i].ids), i)):
            if batches and self._cost([*batches[-1], i]) <= budget:
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
