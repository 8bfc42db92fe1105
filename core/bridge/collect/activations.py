"""What is collected: one model's activations at some sites, with everything that their bits depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol, final

from bridge.corpus.documents import Corpus
from bridge.corpus.shards import SHARD_CHARACTERS
from bridge.pairing.align import Encoder
from bridge.references import Site
from bridge.store import Artifact, Store

if TYPE_CHECKING:
    from torch import Tensor


TOKENS_PER_BATCH = {"cpu": 1024, "mps": 4096, "cuda": 16384}
"""Padded tokens per forward pass if the user sets no batch size. On a CPU small batches are as fast as large ones and
have less padding."""


class ActivationSource(Encoder, Protocol):
    """The interface of a loaded model for collection.

    Attributes:
        name: Name of the model in messages.
        d_model: Width of the activations.
    """

    name: str
    d_model: int

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run a padded batch.

        Args:
            ids: Token ids, padded on the right with id 0, (batch, tokens) int64.
            mask: 1 for tokens and 0 for padding, (batch, tokens) int64.
            sites: The sites to read.

        Returns:
            For each site (batch, tokens, d_model), in any float dtype; padding has any finite value.
        """


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
        quantized: Bits of the weights, method and package, as `4bit (NF4, bitsandbytes 0.50.2)`; empty for full
            weights.
    """

    dtype: str
    max_tokens: int
    batch_size: int | None = None
    device: str = "cpu"
    quantized: str = ""

    @property
    def batch(self) -> int | dict[str, int]:
        """The maximal batch: a number of texts, or of padded tokens as `{"tokens": n}`."""
        return self.batch_size or {"tokens": TOKENS_PER_BATCH[self.device]}

    def allows(self, texts: int, longest: int) -> bool:
        """Tell whether texts may run in one batch.

        Args:
            texts: Number of texts.
            longest: Tokens of the longest of them.
        """
        return texts <= self.batch if isinstance(self.batch, int) else texts * longest <= self.batch["tokens"]


def activations_artifact(
    store: Store,
    model: str,
    site: Site,
    corpus: Corpus,
    settings: CollectSettings,
    source: Mapping[str, str] | None = None,
) -> Artifact:
    """Return the artifact of one model's activations at one site over one corpus.

    Args:
        store: The store.
        model: Family and identity of the weights (a content hash, or hub id and commit).
        site: The site.
        corpus: The texts.
        settings: The settings of the forward passes.
        source: What else decides the bits: see `ActivationBackend.identity`; default: nothing.

    Returns:
        The artifact: a shard for each of `shards(corpus, max_tokens)` with `rows` (n, d_model), the kept tokens
        of the chunk's documents in order, and `norms` (n,) float32. Its recipe decides the bits of every shard, on
        processors that round alike and unless memory ran out; a shard's sidecar has the number of batches that were
        `halved` for lack of memory.
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
            "batch": settings.batch,
            "device": settings.device,
            "transformers": version("transformers"),  # tokenises for every source
            **({"quantized": settings.quantized} if settings.quantized else {}),
            **({"source": dict(source)} if source else {}),
        },
    )
