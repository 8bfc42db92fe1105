"""The split into training, validation and held-out documents, by document group, made before any measurement."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Corpus
from bridge.errors import CorpusError

HELD_OUT = -1
SplitKind = Literal["random", "last"]


def assign_folds(corpus: Corpus, *, held_out: float, folds: int, kind: SplitKind, seed: int) -> NDArray[np.int64]:
    """Assign every document to a training fold or to the held-out set.

    Args:
        corpus: The documents.
        held_out: Share of the document groups to hold out for the final scores.
        folds: Number of training folds for cross-validation.
        kind: `random` draws the held-out groups by seed, so that their share is met on average; `last` holds out the
            last ones in corpus order.
        seed: Seed of the draw and of the folds.

    Returns:
        Shape (documents,): a fold in [0, folds), or `HELD_OUT`.

    Raises:
        CorpusError: If there are too few groups to fill every fold and the held-out set.
    """
    groups = list(dict.fromkeys(document.group for document in corpus.documents))
    if kind == "random":
        # Hashing keeps the side of a document when the number of documents changes.
        training = [group for group in groups if _fraction(group, seed) >= held_out]
    else:
        training = groups[: len(groups) - round(held_out * len(groups))]
    if len(training) < folds or len(groups) - len(training) < 2:
        raise CorpusError(
            f"The corpus {corpus.name} has {len(groups)} independent documents: too few for {folds} folds and a "
            f"held-out share of {held_out:g}.",
            cause="Splits go by document; the paragraphs of one file in a folder count as one document.",
            remedy="Give more documents.",
        )
    shuffled = np.random.default_rng(seed).permutation(len(training)) % folds
    fold = dict.fromkeys(groups, HELD_OUT) | dict(zip(training, shuffled.tolist(), strict=True))
    return np.array([fold[document.group] for document in corpus.documents])


def document_groups(corpus: Corpus, folds: NDArray[np.int64], fold: int) -> NDArray[np.int64]:
    """Number the groups of one fold's documents: -1 for documents of other folds, (documents,) int64.

    Intervals resample groups, because the paragraphs of one file are not independent.
    """
    numbers = {group: i for i, group in enumerate(dict.fromkeys(document.group for document in corpus.documents))}
    scored = folds == fold
    groups = np.full(len(folds), -1)
    chosen = np.array([numbers[document.group] for document in corpus.documents])[scored]
    _, groups[scored] = np.unique(chosen, return_inverse=True)
    return groups


def _fraction(group: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}\0{group}".encode()).digest()
    return int.from_bytes(digest[:8]) / 2**64
