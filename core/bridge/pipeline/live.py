"""The destination model in memory, run on held-out documents with its activations rewritten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect import pad
from bridge.models import LoadedModel
from bridge.pairing import Encoded
from bridge.pipeline.pairs import StoredPairs
from bridge.references import Site
from bridge.scorers import Edit, LiveModel
from bridge.split import HELD_OUT

if TYPE_CHECKING:
    from torch import Tensor

DOCUMENTS = 100
"""Held-out documents that a live model is run on: enough for an interval, few enough for a CPU."""

TOKENS_PER_BATCH = 2048
"""Padded tokens of one forward pass; logits over a vocabulary of 262k fill 2 GB then."""


@final
class RunningModel(LiveModel):
    """A loaded model, one site of it, and a seeded sample of the held-out documents.

    Args:
        model: The destination model.
        site: Where activations are rewritten.
        pairs: The held-out rows; says which documents are held out.
        max_tokens: Texts are cut after so many tokens.
        seed: Of the sample.
    """

    def __init__(self, model: LoadedModel, site: Site, pairs: StoredPairs, max_tokens: int, seed: int) -> None:
        self.n_documents = pairs.n_documents
        self._model, self._site = model, site
        held_out = np.flatnonzero(pairs.folds == HELD_OUT)
        chosen = np.random.default_rng(seed).permutation(held_out)[:DOCUMENTS]
        encoded = model.encode([pairs.documents[i] for i in chosen], max_tokens)
        by_length = sorted(zip(encoded, pairs.groups[chosen], strict=True), key=lambda item: len(item[0].ids))
        self._batches: list[list[tuple[Encoded, int]]] = []
        for one in by_length:
            if self._batches and (len(self._batches[-1]) + 1) * len(one[0].ids) <= TOKENS_PER_BATCH:
                self._batches[-1].append((one[0], int(one[1])))
            else:
                self._batches.append([(one[0], int(one[1]))])

    def losses(self, edit: Edit | None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the summed next-token losses in nats and their counts, both (n_documents,)."""
        from torch.nn.functional import cross_entropy

        sums, counts = np.zeros((2, self.n_documents))
        for batch in self._batches:
            texts = [encoded for encoded, _ in batch]
            ids, mask = pad([encoded.ids for encoded in texts])
            edits = {} if edit is None else {self._site: _on_rows(edit, texts)}
            logits = self._model.logits(ids, mask, edits)
            for row, (encoded, document) in enumerate(batch):
                # What follows a token of the text: specials predict nothing of interest, and are never rewritten.
                at = encoded.kept[encoded.kept < len(encoded.ids) - 1]
                targets = ids[row, at + 1].to(logits.device)
                sums[document] += float(cross_entropy(logits[row, at].float(), targets, reduction="sum"))
                counts[document] += len(at)
        return sums, counts


def _on_rows(edit: Edit, texts: Sequence[Encoded]) -> Callable[[Tensor], Tensor]:
    """Turn an edit of numpy rows into one of a padded batch, (batch, tokens, d_model): tokens of the text only."""

    def apply(value: Tensor) -> Tensor:
        import torch

        places = [torch.from_numpy(encoded.kept) for encoded in texts]
        batch = torch.cat([torch.full_like(place, row) for row, place in enumerate(places)]).to(value.device)
        position = torch.cat(places).to(value.device)
        rows = edit(value[batch, position].float().cpu().numpy())
        value[batch, position] = torch.from_numpy(rows).to(value.device, value.dtype)
        return value

    return apply
