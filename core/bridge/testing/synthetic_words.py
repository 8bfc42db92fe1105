"""Synthetic explanations, and a judge that compares texts by their words."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.geometry import unit_rows
from bridge.maps import FittedMap
from bridge.pairing.rows import Rows
from bridge.scorers import MAPPED, NATIVE, RANDOM_DIRECTION, SELF, ArmExplanations, Explained, ExplainedActivations
from bridge.verbalizers import Explanation

FEATURES, WORDS, VOCABULARY, WIDTH = 12, 5, 200, 48
TOPICS = ("word1", "word2", "word3")


def explained_words(arms: Collection[str], seed: int) -> Explained:
    """Return texts of five words: `mapped` shares three words with the native text, other arms have random words.

    In each arm one text is empty and one is flagged as truncated.

    Args:
        arms: The arms; `random_direction` is added.
        seed: Seed of the words.
    """
    rng = np.random.default_rng(seed)
    native = rng.integers(VOCABULARY, size=(FEATURES, WORDS))
    drawn = {arm: rng.integers(VOCABULARY, size=native.shape) for arm in (*arms, RANDOM_DIRECTION)}
    drawn[MAPPED][:, :3] = native[:, :3]
    foreign = {arm: _explanations(words, empty=index) for index, (arm, words) in enumerate(drawn.items())}
    topics = [TOPICS[index % len(TOPICS)] if index % 4 else "" for index in range(FEATURES)]
    names = [f"feature {index}" for index in range(FEATURES)]
    return Explained(names, _explanations(native, empty=FEATURES - 1), foreign, topics)


def readings_of(rows: Rows, arms: Mapping[str, FittedMap], back: Mapping[str, FittedMap]) -> ExplainedActivations:
    """Return readings of paired rows: three words of each text, and reconstructed rows with some noise.

    Args:
        rows: The positions, at least two.
        arms: The maps; reconstructions of their arms pass through the map and the reverse map.
        back: The reverse map of each arm.
    """
    rng = np.random.default_rng(5)
    words = rng.integers(VOCABULARY, size=(len(rows.x), WORDS))
    means = rows.x.mean(0, dtype=np.float64), rows.y.mean(0, dtype=np.float64)

    def reading(
        truth: NDArray[np.float32], rebuilt: NDArray[np.floating], mean: NDArray[np.float64]
    ) -> ArmExplanations:
        words_said = words.copy()
        words_said[:, :2] = rng.integers(VOCABULARY, size=words_said[:, :2].shape)
        noisy = (rebuilt + 0.1 * rng.normal(size=truth.shape)).astype(np.float32)
        return ArmExplanations(_explanations(words_said, empty=1), truth, noisy, mean)

    read = {NATIVE: reading(rows.x, rows.x, means[0]), SELF: reading(rows.y, rows.y, means[1])}
    read |= {arm: reading(rows.x, back[arm](there(rows.x).astype(np.float32)), means[0]) for arm, there in arms.items()}
    texts = [" ".join(f"word{word}" for word in row) for row in words.tolist()]
    return ExplainedActivations(
        texts, [TOPICS[index % len(TOPICS)] for index in range(len(texts))], rows.document, read
    )


def judge_words(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embed texts as the sum of one random vector per word; a `bridge.scorers.Judge`."""
    vectors = [_vector("")] * len(texts)
    for index, text in enumerate(texts):
        vectors[index] = sum((_vector(word) for word in text.split()), vectors[index])
    rows = np.array(vectors).reshape(len(texts), WIDTH)
    return unit_rows(rows).astype(np.float32)


def _vector(word: str) -> NDArray[np.float64]:
    return np.random.default_rng(zlib.crc32(word.encode())).normal(size=WIDTH)


def _explanations(words: NDArray[np.int64], empty: int) -> list[Explanation]:
    words_said = [Explanation(" ".join(f"word{word}" for word in row)) for row in words.tolist()]
    words_said[empty] = Explanation("", ("empty",))
    words_said[empty - 1] = Explanation(words_said[empty - 1].text, ("truncated",))
    return words_said
