"""Operations and bytes of a model, from its configuration: of one token, of a batch, and of what is kept of a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

from bridge.collect.activations import TOKENS_PER_BATCH
from bridge.models.perplexity import TOKENS
from bridge.rehearsal.models import Described

LOGITS = 3.4
"""Copies of the self-check's logits in float32 at its peak; measured on Gemma 3 270M."""

INNER, STREAM = 3, 6
"""Vectors of the MLP's and of the stream's width that a pass holds for each token at its peak; measured on the same."""

PROCESS = 0.4
"""GiB that Python, torch and transformers take; measured."""


@final
@dataclass(frozen=True)
class Sizes:
    """Sizes of a text model.

    Attributes:
        parameters: All of them; 0 if they are not known.
        embedding: Those of the table of the input.
        tied: Whether the head is that table.
        inner: Width of the MLPs.
        kept: Numbers that a cache of keys and values keeps of each token.
        vocabulary: Size of the vocabulary.
        depth: Share of the blocks that run to reach the deepest site.
        d_model: Width of the stream.
    """

    parameters: int
    embedding: int
    tied: bool
    inner: int
    kept: int
    vocabulary: int
    depth: float
    d_model: int

    @property
    def collect(self) -> float:
        """Operations of one token up to the deepest site: products only, and no product is made with embeddings."""
        heads = self.embedding * (1 if self.tied else 2)
        return 2.0 * max(self.parameters - heads, 0) * self.depth

    @property
    def write(self) -> float:
        """Operations of one written token: all blocks, and the head."""
        return 2.0 * max(self.parameters - (0 if self.tied else self.embedding), 0)

    def working_bytes(self, size: int, device: str) -> float:
        """Return the bytes that a pass of collection or the self-check needs besides the weights.

        Args:
            size: Bytes of a number.
            device: Kind of device, which decides the batch.
        """
        tokens = TOKENS_PER_BATCH.get(device, TOKENS_PER_BATCH["cuda"])
        batch = tokens * (INNER * self.inner + STREAM * self.d_model) * size
        return float(max(batch, LOGITS * 4 * TOKENS * self.vocabulary))


def sizes_of(one: Described) -> Sizes:
    """Read the sizes of a model from its configuration; what is not known is 0."""
    text = _config(one)
    heads = int(getattr(text, "num_key_value_heads", 0) or getattr(text, "num_attention_heads", 0) or 0)
    width = one.model.info.d_model
    query = int(getattr(text, "num_attention_heads", 0) or 1)
    head = int(getattr(text, "head_dim", 0) or width // query)
    vocabulary = int(getattr(text, "vocab_size", 0) or 0)
    inner = getattr(text, "intermediate_size", 0) or 0
    return Sizes(
        parameters=one.parameters or 0,
        embedding=vocabulary * width,
        tied=bool(getattr(text, "tie_word_embeddings", True)),
        inner=max(inner) if isinstance(inner, list) else int(inner) or 4 * width,
        kept=2 * heads * head * one.model.info.n_layers,
        vocabulary=vocabulary,
        depth=one.deepest() / one.model.info.n_layers,
        d_model=width,
    )


def _config(one: Described) -> Any:
    from transformers import AutoConfig

    raw = dict(one.model.weights.config)
    try:
        return AutoConfig.for_model(raw.pop("model_type", ""), **raw).get_text_config()
    except Exception:  # a family of its own, or a type that transformers does not know
        return None


def moments_bytes(d_src: int, d_dst: int, folds: int) -> float:
    """Return the bytes of a fit's second moments: of every fold and of all, with the mispaired products, float64."""
    return 8.0 * (folds + 1) * (d_src**2 + 2 * d_src * d_dst + d_dst**2)
