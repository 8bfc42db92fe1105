"""Which documents fit, which validate, which test: decided once, by document group, before anything is measured."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bridge.corpus import Corpus
from bridge.errors import CorpusError

HELD_OUT = -1
SplitKind = Literal["random", "last"]


def assign_folds(corpus: Corpus, *, held_out: float, folds: int, kind: SplitKind, seed: int) -> NDArray[np.int64]:
    """Give every document a training fold, or hold it out.

    Args:
        corpus: The documents.
        held_out: Share of the document groups to hold out for the final scores.
        folds: Number of training folds for cross-validation.
        kind: `random` draws the held-out groups by seed; `last` holds out the last ones in corpus order.
        seed: Of the draw, and of the folds.

    Returns:
        Shape (documents,): a fold in [0, folds), or `HELD_OUT`.

    Raises:
        CorpusError: If there are too few groups to fill every fold and the held-out set.
    """
    groups = list(dict.fromkeys(document.group for document in corpus.documents))
    n_held_out = round(held_out * len(groups))
    if n_held_out < 2 or len(groups) - n_held_out < folds:
        raise CorpusError(
            f"The corpus {corpus.name} has {len(groups)} independent documents: too few for {folds} folds and a "
            f"held-out share of {held_out:g}.",
            cause="Splits go by document; the paragraphs of one file in a folder count as one document.",
            remedy="Give more documents.",
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(groups))
    order = shuffled if kind == "random" else np.arange(len(groups))
    fold = np.full(len(groups), HELD_OUT)
    training = order[: len(groups) - n_held_out]
    fold[training] = rng.permutation(len(training)) % folds
    of_group = dict(zip(groups, fold.tolist(), strict=True))
    return np.array([of_group[document.group] for document in corpus.documents])
