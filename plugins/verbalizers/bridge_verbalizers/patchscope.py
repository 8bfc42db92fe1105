"""A patchscope: the vector takes the place of a token in the model's own prompt, and the model goes on from there."""

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
from bridge.verbalizers import Blends, Explanation, Subject, Verbalizer, VerbalizerBackend, check_vectors

if TYPE_CHECKING:
    from torch import Tensor

PROMPT = "cat -> cat; 1135 -> 1135; hello -> hello; ? ->"
"""Says back what is on the left of the arrow; `?` is where the vector goes."""

PLAUSIBLE = 0.05
"""What is taken away chooses among the tokens with this share of the best one's probability, as in contrastive decoding
(Li et al., arXiv 2210.15097, alpha): without a bar it would choose among tokens that nothing speaks for."""

ROWS = 16
"""Texts a forward pass."""

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Patchscope(VerbalizerBackend):
    """The model itself says what a vector stands for, by going on with an identity prompt, greedily.

    The vector replaces one activation of the prompt, and is given that activation's length: those of late layers are
    many times longer, and directions have any length.

    Attributes:
        layer: Block whose output is replaced, wherever the vectors come from: an early one, so that the blocks after it
            can still say it; the last but one, where there are fewer.
        new_tokens: How many tokens are said at most; a semicolon or a new line ends what is said.

    Source: Ghandeharioun et al., "Patchscopes" (arXiv 2401.06102), the prompt; Chen, Vondrick and Mao, "SelfIE" (arXiv
    2403.10949), an early layer whatever the vector's own.
    """

    layer: int = 2
    new_tokens: int = 12

    name = "patchscope"
    summary = (
        "lets the model itself go on with a prompt in which a vector takes the place of a token; nothing is trained"
    )

    def open(self, subject: Subject) -> Verbalizer:
        """Load the model and find the place in the prompt.

        Raises:
            UsageError: If the layer is negative, or no token is to be said.
            ModelUnavailableError: If the weights cannot be had.
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
        # Some tokenizers put an end-of-text after every text, from which nothing goes on.
        self._prompt = encoded.ids[: encoded.kept[-1] + 1]
        self._place = int(np.flatnonzero(encoded.ends > PROMPT.rindex("?"))[0])

    def explain(self, vectors: Floats) -> list[Explanation]:
        check_vectors(vectors, self.d_model)
        return self._explain(vectors[:, None], None, 0.0)

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Choose each token by the mean of the blends' log-probabilities, minus beta times that of the backgrounds'."""
        check_vectors(blends.vectors.reshape(-1, blends.vectors.shape[-1]), self.d_model)
        if blends.beta:
            check_vectors(blends.backgrounds, self.d_model)
        return self._explain(blends.vectors, blends.backgrounds if blends.beta else None, blends.beta)

    def _explain(self, vectors: Floats, backgrounds: Floats | None, beta: float) -> list[Explanation]:
        blends = vectors.shape[1]
        if backgrounds is not None:
            vectors = np.concatenate([vectors, np.broadcast_to(backgrounds, (len(vectors), *backgrounds.shape))], 1)
        step = max(ROWS // vectors.shape[1], 1)
        explanations = []
        for start in range(0, len(vectors), step):
            for ids in self._decode(vectors[start : start + step], blends, beta):
                text = re.split(r"[;\n]", self._model.tokenizer.decode(ids).strip())[0].strip()
                explanations.append(Explanation(text, () if text else ("empty",)))
        return explanations

    def _decode(self, vectors: Floats, blends: int, beta: float) -> list[list[int]]:
        """Decode greedily from vectors (n, rows, d_model), the first `blends` rows of each against the others."""
        import torch

        count, rows, width = vectors.shape
        patch = {self._site: _patch(torch.tensor(np.ascontiguousarray(vectors).reshape(-1, width)), self._place)}
        added = torch.empty((count, 0), dtype=torch.int64)
        for _ in range(self._new_tokens):
            prompt = torch.from_numpy(self._prompt).expand(count, -1)
            ids = torch.cat([prompt, added], 1).repeat_interleave(rows, 0)
            logits = self._model.logits(ids, torch.ones_like(ids), patch)[:, -1].float()
            said = logits.log_softmax(-1).reshape(count, rows, -1)
            chosen = scores = said[:, :blends].mean(1)
            if beta:
                implausible = scores < scores.amax(1, keepdim=True) + np.log(PLAUSIBLE)
                chosen = (scores - beta * said[:, blends:].mean(1)).masked_fill(implausible, -np.inf)
            added = torch.cat([added, chosen.argmax(1, keepdim=True).cpu()], 1)
        return list(added.tolist())


def _patch(vectors: Tensor, place: int) -> Callable[[Tensor], Tensor]:
    """Return an edit that puts each row's vector at one place, as long as what was there."""
    # Exact for vectors of any length, and no float64 on the model's device: Apple's has none.
    unit = (vectors.double() / vectors.double().norm(dim=-1, keepdim=True)).float()

    def edit(value: Tensor) -> Tensor:
        length = value[:, place].float().norm(dim=-1, keepdim=True)
        value[:, place] = (unit.to(value.device) * length).to(value.dtype)
        return value

    return edit


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer the patchscope."""
    register(Patchscope)
