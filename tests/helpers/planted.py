"""Texts of known words, for models whose "activations" are a known direction for each word."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bridge.corpus import Document
from bridge.verbalizers import Passage

WORDS = ("river", "engine", "violin", "pepper", "glacier", "lantern")


def planted_passages(
    directions: np.ndarray[tuple[int, int], np.dtype[np.float32]],
    noise: float,
    held_out: bool,
    mean: np.ndarray[tuple[int], np.dtype[np.float32]] | float = 0.0,
) -> Iterator[Passage]:
    """Yield texts of eight drawn words, with an activation at the end of each word: its direction, the mean, and noise.

    Args:
        directions: One for each of `WORDS`, (words, d_model).
        noise: Standard deviation of the noise.
        held_out: Whether to draw 30 held-out texts, or 120 training texts.
        mean: Added to every activation, (d_model,).
    """
    rng = np.random.default_rng(7 + held_out)
    for _ in range(30 if held_out else 120):
        chosen = rng.integers(len(WORDS), size=8)
        text = " ".join(WORDS[word] for word in chosen)
        ends = np.cumsum([len(WORDS[word]) + 1 for word in chosen]) - 1
        x = mean + directions[chosen] + noise * rng.normal(size=(8, directions.shape[1]))
        yield Passage(Document(text, text), ends, x.astype(np.float32))
