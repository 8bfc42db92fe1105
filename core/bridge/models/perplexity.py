"""Perplexity of a model on plain text, as a check whether its weights are trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import resources
from typing import final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from bridge.collect.batches import pad
from bridge.corpus.documents import Document
from bridge.models.loaded import LoadedModel

TOKENS = 256
"""Of each text, at most."""

UNTRAINED = 0.8
"""A loss above this share of the logarithm of the vocabulary, which uniform guessing reaches, is not a trained model's.
Of 50,000 tokens, that is a perplexity of 5,700; a model of 14 million weights has some hundreds on English. Random
weights are at 1. A share of the vocabulary itself would not do for small ones: of 8 tokens, a perfect model of brackets
has perplexity 3.4."""

ENGLISH = "plain English"


@final
class Perplexity(BaseModel):
    """The perplexity of a model on a text.

    Attributes:
        perplexity: Exponential of the mean loss in nats a token; at most 1e300.
        tokens: Number of predicted tokens.
        vocabulary: Size of the vocabulary.
        text: Description of the text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    perplexity: float = Field(ge=1, allow_inf_nan=False)
    tokens: int = Field(ge=1)
    vocabulary: int = Field(ge=1)
    text: str

    @property
    def untrained(self) -> bool:
        """Whether the perplexity is worse than that of any trained model."""
        return self.perplexity > self.bound

    @property
    def bound(self) -> float:
        """The worst perplexity of a trained model."""
        return float(self.vocabulary**UNTRAINED)

    def sentence(self) -> str:
        """Return the measurement as a sentence; for an untrained model, with the meaning."""
        value = f"{self.perplexity:,.0f}" if self.perplexity >= 100 else f"{self.perplexity:.3g}"
        said = f"perplexity {value} on {self.text}"
        if not self.untrained:
            return f"{said} ({self.tokens} tokens)"
        return f"{said}: these weights are not a trained model, or not the ones you think"


def paragraph() -> Document:
    """Return the bundled paragraph of plain English."""
    text = resources.files("bridge").joinpath("data/paragraph.txt").read_text(encoding="utf-8").strip()
    return Document(text, text)


def perplexity(model: LoadedModel, documents: Sequence[Document], text: str) -> Perplexity | None:
    """Measure a model's perplexity.

    Args:
        model: Any model.
        documents: The texts.
        text: Name of the texts in messages.

    Returns:
        The measurement; None for an encoder, and if the tokenizer makes fewer than two tokens of every text.
    """
    import torch

    if not model.causal:
        return None
    most = min(TOKENS, model.max_tokens or TOKENS)
    encoded = [one for one in model.encode(documents, most) if len(one.ids) > 1]
    if not encoded:
        return None
    ids, mask = pad([one.ids for one in encoded])
    logits = model.logits(ids, mask)[:, :-1].float().cpu()
    wanted = mask[:, 1:].bool()
    losses = torch.nn.functional.cross_entropy(logits[wanted], ids[:, 1:][wanted], reduction="none").double()
    return of_losses(losses.numpy(), logits.shape[-1], text)


def of_losses(losses: NDArray[np.float64], vocabulary: int, text: str) -> Perplexity:
    """Return the perplexity of predictions.

    Args:
        losses: Negative log-probability of each token, in nats, (tokens,) float64, at least one.
        vocabulary: Size of the vocabulary.
        text: Name of the texts in messages.
    """
    mean = float(losses.mean())
    value = math.exp(min(max(mean, 0.0), 690.0)) if math.isfinite(mean) else 1e300
    return Perplexity(perplexity=value, tokens=len(losses), vocabulary=vocabulary, text=text)
