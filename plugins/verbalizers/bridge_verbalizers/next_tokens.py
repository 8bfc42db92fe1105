"""Next tokens that vectors promote and suppress, through a model's own final norm and head, for all lenses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import UsageError
from bridge.models import LoadedModel
from bridge.references import Site
from bridge.verbalizers import Blends, Explanation, Verbalizer, check_vectors

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 32
"""Number of vectors per forward pass; each vector replaces the activation of one token."""

Floats = NDArray[np.float32]


@final
class NextTokens(Verbalizer):
    """Names next tokens by the odd part of the logits, (logits(v) - logits(-v)) / 2.

    Biases of the final norm and of the head are equal for all vectors and cancel. In a model without biases the odd
    part is logits(v). In every model -v suppresses the tokens that v promotes.

    Args:
        model: The model whose norm and head are used.
        top: Number of tokens on each side, at least 1.
        matrix: Matrix that vectors are first multiplied by, (d_model, d_model) float32; None for no matrix.
    """

    def __init__(self, model: LoadedModel, top: int, matrix: Floats | None = None) -> None:
        self.d_model = model.d_model
        self._model, self._top, self._matrix = model, top, matrix

    def explain(self, vectors: Floats) -> list[Explanation]:
        """Name the next tokens for vectors, (n, d_model) float32, in the given order."""
        check_vectors(vectors, self.d_model)
        return self._explain(vectors[:, None], 0)

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Read the mean of the blends' logits, minus beta times the mean of the backgrounds' logits.

        Logits replace log-probabilities: they differ by one number per vector, so the order of tokens is the same.
        """
        check_vectors(blends.vectors.reshape(-1, blends.vectors.shape[-1]), self.d_model)
        taken: Tensor | int = 0
        if blends.beta:
            check_vectors(blends.backgrounds, self.d_model)
            taken = blends.beta * self._logits(blends.backgrounds).mean(0)
        return self._explain(blends.vectors, taken)

    def _explain(self, vectors: Floats, taken: Tensor | int) -> list[Explanation]:
        count, backgrounds, _ = vectors.shape
        step = max(ROWS // backgrounds, 1)
        explanations = []
        for start in range(0, count, step):
            chunk = vectors[start : start + step]
            logits = self._logits(chunk.reshape(-1, self.d_model)).reshape(len(chunk), backgrounds, -1).mean(1) - taken
            # Stable, because bfloat16 logits often tie.
            order = logits.argsort(dim=1, descending=True, stable=True)
            explanations += [self._say(ids) for ids in order.cpu().numpy()]
        return explanations

    def _say(self, ids: NDArray[np.int64]) -> Explanation:
        promoted, suppressed = self._first(ids), self._first(ids[::-1])
        if not promoted:
            return Explanation("", ("empty",))
        return Explanation(f"promotes: {', '.join(promoted)}; suppresses: {', '.join(suppressed)}")

    def _first(self, ids: NDArray[np.int64]) -> list[str]:
        found: list[str] = []
        for token in ids:
            # Special tokens, and rows of the head without a token, decode to an empty text.
            if text := self._model.tokenizer.decode([int(token)]):
                found.append(json.dumps(text, ensure_ascii=False))
            if len(found) == self._top:
                break
        return found

    def _logits(self, vectors: Floats) -> Tensor:
        """Return the odd part of the logits of vectors, (n, vocabulary) float32."""
        import torch

        last = Site(self._model.n_layers - 1)
        parts = []
        for start in range(0, len(vectors), ROWS):
            rows = vectors[start : start + ROWS]
            chunk = torch.tensor(np.ascontiguousarray(rows if self._matrix is None else rows @ self._matrix.T))
            both = torch.cat([chunk, -chunk])[:, None]
            ids = torch.zeros(both.shape[:2], dtype=torch.int64)
            # The token does not matter: nothing after the last block attends to other tokens.
            logits = self._model.logits(ids, torch.ones_like(ids), {last: both.to})[:, 0].float()
            parts.append((logits[: len(chunk)] - logits[len(chunk) :]) / 2)
        return torch.cat(parts)


def need_tokens(top: int) -> None:
    """Refuse a lens that names no token.

    Raises:
        UsageError: If `top` is below 1.
    """
    if top < 1:
        raise UsageError(f"A lens cannot name {top} tokens.", remedy="Give top=1 or more.")
