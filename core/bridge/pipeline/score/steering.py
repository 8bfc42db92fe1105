"""The effect of a steering vector on the destination model's predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect.batches import pad
from bridge.corpus.documents import Document
from bridge.errors import CorpusError, UsageError
from bridge.measures import STEERING
from bridge.metrics import Metric, ratio_interval
from bridge.models import LoadedModel, Placement
from bridge.pairing.align import Encoded
from bridge.pipeline.transfer.contrast import Contrast
from bridge.references import Site
from bridge.scorers import MAPPED, NATIVE, RANDOM_DIRECTION

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.models.edits import Edits

TEXTS_PER_BATCH = 32
Floats = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Dose:
    """The settings for steering the live model.

    Attributes:
        doses: Multiples of the native vector's length; repeatable.
        prompts: Prompts for generation, at the largest dose; repeatable.
        new_tokens: Maximal number of tokens generated per prompt; the model's end tokens end a text earlier.
        max_tokens: Number of tokens after which texts and prompts are cut.
        placement: Device and dtype of the models.
        seed: Seed of the split, the random directions and the bootstrap.
        allow_untrained: Go on with a model that predicts text no better than random weights do.

    Raises:
        UsageError: If no dose is given, or a number of tokens is too small.
    """

    doses: tuple[float, ...] = (0.5, 1.0, 2.0)
    prompts: tuple[str, ...] = ()
    new_tokens: int = 30
    max_tokens: int = 256
    placement: Placement = field(default_factory=Placement)
    seed: int = 0
    allow_untrained: bool = False

    def __post_init__(self) -> None:
        if not self.doses or self.new_tokens < 1 or self.max_tokens < 2:
            raise UsageError("Steering needs a dose, at least one new token and at least two tokens of a text.")


def readable(max_tokens: int, limit: int | None) -> int:
    """Return the number of tokens after which texts are cut: the requested number, or the model's limit if lower."""
    return max_tokens if limit is None else min(max_tokens, limit)


def last_token_batches(
    model: LoadedModel, documents: Sequence[Document], max_tokens: int
) -> list[tuple[Tensor, Tensor, list[int]]]:
    """Return ids, mask, and the position of each text's last token, batch by batch.

    The last token is the last token of the text: after an EOS, which some tokenizers add, a model predicts the start of
    another text.

    Raises:
        CorpusError: If a text has no tokens.
    """
    batches = []
    for start in range(0, len(documents), TEXTS_PER_BATCH):
        some = documents[start : start + TEXTS_PER_BATCH]
        encoded = model.encode(some, max_tokens)
        empty = [document.text for document, one in zip(some, encoded, strict=True) if not len(one.kept)]
        if empty:
            raise CorpusError(
                f"The text {empty[0][:40]!r} has no tokens in {model.name}.",
                cause="The tokenizer drops all of its characters.",
                remedy="Remove the text from the contrast.",
            )
        batches.append((*pad([one.ids for one in encoded]), [int(one.kept[-1]) for one in encoded]))
    return batches


@final
class SteeredModel:
    """The live destination model, with its predictions after each tested text, plain and steered."""

    def __init__(self, model: LoadedModel, site: Site, contrast: Contrast, dose: Dose) -> None:
        self._model, self._site, self._dose = model, site, dose
        self._max_tokens = readable(dose.max_tokens, model.max_tokens)
        plain = self._predictions(contrast.documents, None, np.zeros(len(contrast.documents)))
        making, first = ~contrast.tested, contrast.first
        # The read-out is the class's own mean prediction, so no list of words is needed.
        toward, away = (np.log(np.exp(plain[making & of]).mean(0) + 1e-12) for of in (first, ~first))
        self._odds = toward - away
        self._documents = [one for one, tested in zip(contrast.documents, contrast.tested, strict=True) if tested]
        self._sign = np.where(first[contrast.tested], -1.0, 1.0)
        self._plain = plain[contrast.tested]

    def effects(self, vectors: Floats) -> dict[str, Floats]:
        """Return for each tested text the mean effect of some vectors, (k, d_model).

        Returns:
            The shift of the class log-odds towards the other class, and KL(steered || plain), in nats: both (texts,).
        """
        found = [self._effect(vector) for vector in vectors]
        return {name: np.mean([one[name] for one in found], axis=0) for name in found[0]}

    def _effect(self, vector: Floats) -> dict[str, Floats]:
        steered = self._predictions(self._documents, vector, self._sign)
        shift = ((np.exp(steered) - np.exp(self._plain)) @ self._odds) * self._sign
        kl = (np.exp(steered) * (steered - self._plain)).sum(1)
        return {"log_odds_shift": shift, "kl": np.maximum(kl, 0)}

    def generate(
        self, prompts: Sequence[str], encoded: Sequence[Encoded], vectors: Mapping[str, Floats], alpha: float
    ) -> list[dict[str, str]]:
        """Generate text after each prompt: plain, and steered by every arm's vector."""
        import torch

        edits: dict[str, Edits] = {"plain": {}}
        for arm, some in vectors.items():
            edits[arm] = {self._site: _adding(torch.from_numpy(alpha * some[0]))}
        ids = [one.ids for one in encoded for _ in edits]
        added = self._model.generate(ids, self._dose.new_tokens, [*edits.values()] * len(encoded))
        texts = map(self._model.tokenizer.decode, added)
        return [{"prompt": prompt} | {arm: next(texts) for arm in edits} for prompt in prompts]

    def _predictions(self, documents: Sequence[Document], vector: Floats | None, sign: Floats) -> Floats:
        """Return the log-probabilities after the last token, (texts, vocabulary) float64."""
        import torch

        found, start = [], 0
        for ids, mask, last in last_token_batches(self._model, documents, self._max_tokens):
            edits = {}
            if vector is not None:
                signed = torch.from_numpy(sign[start : start + len(last), None, None] * vector)
                edits[self._site] = _adding(signed)
            logits = self._model.logits(ids, mask, edits)[range(len(last)), last]
            found.append(torch.log_softmax(logits.double(), -1).cpu().numpy())
            start += len(last)
        return np.concatenate(found)


def _adding(vector: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: value + vector.to(value.device, value.dtype)


def steering_metrics(
    where: tuple[str, str, str], effects: Mapping[str, Mapping[str, Floats]], alpha: float, seed: int
) -> list[Metric]:
    """Return the metrics of one dose.

    Args:
        where: Map, source and destination.
        effects: The effect on each tested text by arm and metric, (texts,) float64, in nats.
        alpha: The dose.
        seed: Seed of the bootstrap.
    """
    native = effects[NATIVE]["log_odds_shift"]
    metrics = []
    for arm, measured in effects.items():
        control = RANDOM_DIRECTION if arm == MAPPED else ""
        ones = np.ones(len(native))
        for name, top, bottom in (
            ("log_odds_shift", measured["log_odds_shift"], ones),
            ("kl", measured["kl"], ones),
            ("transfer_ratio", measured["log_odds_shift"], native),
        ):
            value = float(top.sum() / bottom.sum())
            low, high = ratio_interval(top, bottom, seed, counts=ones)
            metrics.append(Metric(STEERING, f"{name}@{alpha:g}", arm, *where, value, low, high, len(native), control))
    return metrics
