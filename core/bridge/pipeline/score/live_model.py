"""The destination model in memory, run on held-out documents with edited activations."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.corpus.split import HELD_OUT, document_groups
from bridge.models import LoadedModel
from bridge.pipeline.score.losses import Batch, batches, next_token_losses
from bridge.references import Site
from bridge.scorers import Edit, LiveModel

if TYPE_CHECKING:
    from torch import Tensor

DOCUMENTS = 100
"""Number of held-out documents for a live model: enough for an interval, few enough for a CPU."""

TOKENS_PER_BATCH = 2048
"""Padded tokens of one forward pass; logits over a vocabulary of 262k then take 2 GB."""

Losses = tuple[NDArray[np.float64], NDArray[np.float64]]


@final
class LiveDocuments:
    """A loaded model, and a seeded sample of the held-out documents, cut into batches once for all sites.

    Args:
        model: The destination model.
        corpus: The texts.
        folds: Fold of each document, or `HELD_OUT`, (documents,).
        max_tokens: Number of tokens after which texts are cut.
        seed: Seed of the sample.

    Attributes:
        n_documents: Number of held-out document groups.
    """

    def __init__(
        self, model: LoadedModel, corpus: Corpus, folds: NDArray[np.int64], max_tokens: int, seed: int
    ) -> None:
        groups = document_groups(corpus, folds, HELD_OUT)
        self.n_documents = int(groups.max()) + 1
        self._model = model
        chosen = np.random.default_rng(seed).permutation(np.flatnonzero(folds == HELD_OUT))[:DOCUMENTS]
        encoded = model.encode([corpus.documents[i] for i in chosen], max_tokens)
        readable = [item for item in zip(encoded, groups[chosen].tolist(), strict=True) if len(item[0].ids)]
        texts = sorted(readable, key=lambda item: len(item[0].ids))
        self._batches = batches(texts, TOKENS_PER_BATCH)

    @cached_property
    def plain(self) -> Losses:
        """The losses of the unedited model, which do not depend on the site; in the form of `losses`."""
        found = self._losses(None)
        for array in found:
            array.flags.writeable = False
        return found

    def losses(self, site: Site, edit: Edit) -> Losses:
        """Return the summed next-token losses in nats and their counts with an edited site, both (n_documents,)."""
        return self._losses((site, edit))

    def _losses(self, change: tuple[Site, Edit] | None) -> Losses:
        sums, counts = np.zeros((2, self.n_documents))
        for batch in self._batches:
            edits = {change[0]: _on_text(change[1], batch)} if change else {}
            logits = self._model.logits(batch.ids, batch.mask, edits)
            # Only predictions after tokens of the text count; special tokens are never edited.
            document = batch.document[batch.followed]
            sums += np.bincount(document, next_token_losses(logits, batch), minlength=self.n_documents)
            counts += np.bincount(document, minlength=self.n_documents)
        return sums, counts


@final
class RunningModel(LiveModel):
    """One site of a live model, for scorers.

    Args:
        documents: The model and its texts.
        site: The edited site.
    """

    def __init__(self, documents: LiveDocuments, site: Site) -> None:
        self.n_documents = documents.n_documents
        self._documents, self._site = documents, site

    def losses(self, edit: Edit | None) -> Losses:
        """Return the summed next-token losses in nats and their counts, both (n_documents,)."""
        return self._documents.plain if edit is None else self._documents.losses(self._site, edit)


def _on_text(edit: Edit, batch: Batch) -> Callable[[Tensor], Tensor]:
    """Turn an edit of numpy rows into an edit of the text tokens of a padded batch, (batch, tokens, d_model)."""

    def apply(value: Tensor) -> Tensor:
        import torch

        at = batch.row.to(value.device), batch.position.to(value.device)
        rows = edit(value[at].float().cpu().numpy())
        value[at] = torch.from_numpy(rows).to(value.device, value.dtype)
        return value

    return apply
