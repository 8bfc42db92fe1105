"""A judge without a language model: words that occur in the same documents have similar embeddings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import CorpusError
from bridge.geometry import unit_rows
from bridge.scorers import Judge

DIMENSIONS = 100
UNKNOWN = 1e-9
"""Norm of an embedding up to which a text counts as having no word of the documents."""


def latent_semantics(documents: Iterable[str], seed: int) -> Judge:
    """Fit a judge on documents: log tf-idf of their words, projected to the 100 largest singular directions.

    The judge embeds n texts as (n, 101) float32 of unit norm. A text without a word of the documents is embedded as the
    last axis: its similarity is 0 to all other texts and 1 to other texts without such words.

    Args:
        documents: Texts to learn the words from.
        seed: Seed of the randomised decomposition.

    Raises:
        CorpusError: If there are too few documents or words.

    Source: Deerwester et al., "Indexing by Latent Semantic Analysis" (1990); weights as in scikit-learn.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer: Any = TfidfVectorizer(sublinear_tf=True, min_df=2)
    try:
        counts = vectorizer.fit_transform(documents)
    except ValueError as error:
        raise CorpusError(f"The judge lsa cannot learn words from the corpus ({error}).") from error
    dimensions = min(DIMENSIONS, min(counts.shape) - 1)
    if dimensions < 2:
        raise CorpusError(f"The judge lsa cannot learn words from {counts.shape[0]} documents.")
    svd: Any = TruncatedSVD(dimensions, random_state=seed).fit(counts)

    def judge(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded = svd.transform(vectorizer.transform(list(texts)))
        unit = unit_rows(embedded, UNKNOWN)
        return np.hstack([unit, ~unit.any(axis=1, keepdims=True)]).astype(np.float32)

    return judge
