"""A patchscope: the vector takes the place of a token in the model's own prompt, and the model continues from there."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus import Document
from bridge.errors import UsageError
from bridge.hookspecs import hookimpl
from bridge.models import LoadedModel
from bridge.references import Site
from bridge.verbalizers import (
    Blends,
    Explanation,
    Subject,
    Verbalizer,
    VerbalizerBackend,
    check_vectors,
    contrast_scores,
)

if TYPE_CHECKING:
    from torch import Tensor

PROMPT = "cat -> cat; 1135 -> 1135; hello -> hello; ? ->"
"""The prompt repeats the text on the left of the arrow; the vector replaces the activation at `?`."""


ROWS = 64
"""Number of texts per forward pass."""

_END = re.compile(r"[;\n]")

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Patchscope(VerbalizerBackend):
    """The model itself explains a vector, by continuing an identity prompt greedily.

    The vector replaces one activation of the prompt, and is scaled to that activation's length: activations of late
    layers are many times longer, and directions have any length.

    Attributes:
        layer: Block whose output is replaced, for vectors of any site: an early block, so that many later blocks can
            process the vector; the last but one if the model has fewer blocks.
        new_tokens: Maximal number of new tokens; a semicolon or a new line ends the text.

    Source: Ghandeharioun et al., "Patchscopes" (arXiv 2401.06102), for the prompt; Chen, Vondrick and Mao, "SelfIE"
    (arXiv 2403.10949), for an early layer independent of the vector's layer.
    """

    layer: int = 2
    new_tokens: int = 12

    name = "patchscope"
    summary = "lets the model itself continue a prompt in which a vector takes the place of a token; nothing is trained"

    def open(self, subject: Subject) -> Verbalizer:
        """Load the model and find the vector's place in the prompt.

        Raises:
            UsageError: If the layer is negative, or `new_tokens` is below 1.
            ModelUnavailableError: If the weights are not available.
        """
        if self.layer < 0 or self.new_tokens < 1:
            raise UsageError(
                f"A patchscope cannot say {self.new_tokens} tokens from block {self.layer}.",
                remedy="Give layer=0 and new_tokens=1, or more.",
            )
        model = subject.load()
        return _Scope(model, Site(max(min(self.layer, model.n_layers - 2), 0)), self.new_tokens)


@final
class _Scope(Verbalizer):
    def __init__(self, model: LoadedModel, site: Site, new_tokens: int) -> None:
        self.d_model = model.d_model
        self._model, self._site, self._new_tokens = model, site, new_tokens
        (encoded,) = model.encode([Document(PROMPT, PROMPT)], 2 * len(PROMPT))
        # Some tokenizers append an end-of-text token to every text; a text cannot be continued after it.
        self._prompt = encoded.ids[: encoded.kept[-1] + 1]
        self._place = int(np.flatnonzero(encoded.ends > PROMPT.rindex("?"))[0])
        self._longest = len(self._prompt) + new_tokens - 1
        model.decoding(self._longest)  # raises its errors now instead of later

    def explain(self, vectors: Floats) -> list[Explanation]:
        check_vectors(vectors, self.d_model)
        return self._explain(vectors[:, None], None, 0.0)

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Choose each token by the blends' mean log-probabilities, minus beta times the backgrounds' mean."""
        check_vectors(blends.vectors.reshape(-1, blends.vectors.shape[-1]), self.d_model)
        if blends.beta:
            check_vectors(blends.backgrounds, self.d_model)
        return self._explain(blends.vectors, blends.backgrounds if blends.beta else None, blends.beta)

    def _explain(self, vectors: Floats, backgrounds: Floats | None, beta: float) -> list[Explanation]:
        blends = vectors.shape[1]
        if backgrounds is not None:
            vectors = np.concatenate([vectors, np.broadcast_to(backgrounds, (len(vectors), *backgrounds.shape))], 1)
        step = max(ROWS // vectors.shape[1], 1)
        texts = [
            text
            for start in range(0, len(vectors), step)
            for text in self._decode(vectors[start : start + step], blends, beta)
        ]
        return [Explanation(text, () if text else ("empty",)) for text in texts]

    def _decode(self, vectors: Floats, blends: int, beta: float) -> list[str]:
        """Decode greedily from vectors (n, rows, d_model): the first `blends` rows are blends, the rest backgrounds."""
        import torch

        count, rows, width = vectors.shape
        patches = [
            {self._site: _patch(vector)} for vector in torch.tensor(np.ascontiguousarray(vectors)).view(-1, width)
        ]
        decoding = self._model.decoding(self._longest)
        if self._place:
            # Tokens before the vector do not depend on it, so they are read once.
            decoding.read([self._prompt[: self._place]])
            decoding.keep([0] * len(patches))
        logits = decoding.read([self._prompt[self._place :]] * len(patches), patches)
        said: list[list[int]] = [[] for _ in range(count)]
        going = list(range(count))
        for left in reversed(range(self._new_tokens)):
            chosen = _likeliest(logits.view(-1, rows, logits.shape[-1]), blends, beta)
            for one, token in zip(going, chosen, strict=True):
                said[one].append(token)
            kept = [place for place, one in enumerate(going) if not _END.search(self._text(said[one]))]
            if not left or not kept:
                break
            if len(kept) < len(going):
                decoding.keep([place * rows + row for place in kept for row in range(rows)])
                going = [going[place] for place in kept]
            logits = decoding.read([np.array(said[one][-1:]) for one in going for _ in range(rows)])
        return [_END.split(self._text(ids))[0].strip() for ids in said]

    def _text(self, ids: list[int]) -> str:
        return self._model.tokenizer.decode(ids).lstrip()


def _likeliest(logits: Tensor, blends: int, beta: float) -> list[int]:
    """Choose a token for each of n directions from their rows' logits, (n, rows, vocabulary)."""
    chosen: list[int] = contrast_scores(logits, blends, beta).argmax(1).tolist()
    return chosen


def _patch(vector: Tensor) -> Callable[[Tensor], Tensor]:
    """Return an edit that replaces the first activation by a vector of the same length."""
    # Exact for vectors of any length, without float64 on the model's device: Apple's GPUs do not have it.
    unit = (vector.double() / vector.double().norm()).float()

    def edit(value: Tensor) -> Tensor:
        length = value[:, 0].float().norm(dim=-1, keepdim=True)
        value[:, 0] = (unit.to(value.device) * length).to(value.dtype)
        return value

    return edit


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer the patchscope."""
    register(Patchscope)
