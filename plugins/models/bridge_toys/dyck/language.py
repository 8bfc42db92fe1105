"""Dyck-3 of bounded depth: words of three kinds of brackets that match and never nest deeper than `MAX_DEPTH`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus import Document
from bridge.models.tokenizer import Tokenizer
from bridge.pairing import Encoded

OPENING, CLOSING = "([{", ")]}"
VOCABULARY = ("<bos>", "<unk>", *OPENING, *CLOSING)
BOS, UNK, FIRST_OPENING, FIRST_CLOSING = 0, 1, 2, 5
MAX_DEPTH = 8
MAX_TOKENS = 64
KINDS = len(OPENING)
_BRACKETS = frozenset(range(FIRST_OPENING, len(VOCABULARY)))
_IDS = {symbol: index for index, symbol in enumerate(VOCABULARY) if len(symbol) == 1}


@final
@dataclass(frozen=True)
class Words:
    """Words of the language, some of which end with an illegal bracket.

    Attributes:
        ids: BOS and one token per bracket, (words, tokens) int64; padded with BOS on the right.
        depth: Number of open brackets after each token, (words, tokens) int64; -1 if undefined: after an illegal
            bracket, and in the padding.
        valid: 1 if the prefix up to and including this token is legal, 0 if not, -1 in the padding; (words, tokens)
            int64.
    """

    ids: NDArray[np.int64]
    depth: NDArray[np.int64]
    valid: NDArray[np.int64]

    @property
    def texts(self) -> list[str]:
        """Return the words as text."""
        return [
            "".join(VOCABULARY[index] for index in row[1:end])
            for row, end in zip(self.ids, (self.valid >= 0).sum(1), strict=True)
        ]


def legal(stack: Sequence[int]) -> frozenset[int]:
    """Return the token ids that may follow a valid prefix.

    Args:
        stack: The kinds (0, 1, 2) of the open brackets, outermost first.
    """
    opening = range(FIRST_OPENING, FIRST_OPENING + KINDS) if len(stack) < MAX_DEPTH else ()
    return frozenset((*opening, FIRST_CLOSING + stack[-1]) if stack else opening)


def sample(rng: np.random.Generator, words: int, brackets: int = MAX_TOKENS - 1, broken: float = 0.25) -> Words:
    """Draw words: if both are legal, opening and closing have probability 1/2; the kind of an opening is uniform.

    Args:
        rng: Random generator.
        words: Number of words.
        brackets: Length of a legal word, which may end with open brackets.
        broken: Share of words that end early, at a uniform position, with one illegal bracket drawn uniformly.
    """
    ids = np.zeros((words, brackets + 1), dtype=np.int64)
    depth = np.zeros_like(ids)
    stack = np.zeros((words, MAX_DEPTH + 1), dtype=np.int64)  # the extra entry is never read as a top
    rows, height = np.arange(words), np.zeros(words, dtype=np.int64)
    end = np.where(rng.random(words) < broken, rng.integers(1, brackets + 1, words), brackets + 1)
    coins, kinds = rng.random((words, brackets)) < 0.5, rng.integers(0, KINDS, (words, brackets))
    ranks = rng.random((words, len(VOCABULARY)))
    for t in range(1, brackets + 1):
        top = stack[rows, np.maximum(height - 1, 0)]
        opens = (height == 0) | ((height < MAX_DEPTH) & coins[:, t - 1])
        kind = np.where(opens, kinds[:, t - 1], top)
        ids[:, t] = np.where(opens, FIRST_OPENING, FIRST_CLOSING) + kind
        for row in np.flatnonzero(end == t):
            illegal = _BRACKETS - legal([int(top[row])] * int(height[row]))  # only the top and the height matter
            ids[row, t] = max(illegal, key=ranks[row].__getitem__)
        stack[rows, height] = np.where(opens, kind, stack[rows, height])
        height += np.where(opens, 1, -1)
        depth[:, t] = height
    valid = np.sign(end[:, None] - np.arange(brackets + 1))
    return Words(np.where(valid >= 0, ids, BOS), np.where(valid > 0, depth, -1), valid)


@final
class Characters(Tokenizer):
    """BOS, then one token per character; other characters than brackets are `<unk>`."""

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Tokenise documents into characters; a conversation is read as the text of its messages."""
        encoded = []
        for document in documents:
            ids = [BOS, *(_IDS.get(character, UNK) for character in document.text[: max(max_tokens - 1, 0)])]
            ends = [-1, *range(1, len(ids))]
            encoded.append(Encoded(np.array(ids, dtype=np.int64), np.array(ends, dtype=np.int64)))
        return encoded

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without BOS."""
        return "".join(VOCABULARY[index] for index in ids if index != BOS)
