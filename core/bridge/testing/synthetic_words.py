"""Explanations that belong to no model, and a judge that knows texts by their words alone."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.scorers import MAPPED, RANDOM_DIRECTION, Explained
from bridge.verbalizers import Explanation

FEATURES, WORDS, VOCABULARY, WIDTH = 12, 5, 200, 48


def explained_words(arms: Collection[str], seed: int) -> Explained:
    """Return texts of five words: those of `mapped` keep three of the native ones, those of other arms none on purpose.

    One of each arm is empty, one is flagged as truncated.

    Args:
        arms: Which maps moved the directions; `random_direction` comes besides.
        seed: Of the words.
    """
    rng = np.random.default_rng(seed)
    native = rng.integers(VOCABULARY, size=(FEATURES, WORDS))
    drawn = {arm: rng.integers(VOCABULARY, size=native.shape) for arm in (*arms, RANDOM_DIRECTION)}
    drawn[MAPPED][:, :3] = native[:, :3]
    foreign = {arm: _explanations(words, empty=index) for index, (arm, words) in enumerate(drawn.items())}
    return Explained(
        [f"feature {index}" for index in range(FEATURES)], _explanations(native, empty=FEATURES - 1), foreign
    )


def judge_words(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as the sum of a random vector a word; a `bridge.scorers.Judge`."""
    vectors = [_vector("")] * len(texts)
    for index, text in enumerate(texts):
        vectors[index] = sum((_vector(word) for word in text.split()), vectors[index])
    rows = np.array(vectors).reshape(len(texts), WIDTH)
    unit: NDArray[np.float32] = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


def _vector(word: str) -> NDArray[np.float64]:
    return np.random.default_rng(zlib.crc32(word.encode())).normal(size=WIDTH)


def _explanations(words: NDArray[np.int64], empty: int) -> list[Explanation]:
    said = [Explanation(" ".join(f"word{word}" for word in row)) for row in words.tolist()]
    said[empty] = Explanation("", ("empty",))
    said[empty - 1] = Explanation(said[empty - 1].text, ("truncated",))
    return said
