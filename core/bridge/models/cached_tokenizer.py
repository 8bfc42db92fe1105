"""A tokenizer that cuts no text twice: pairing, collecting and explaining all go through the same corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from bridge.corpus.documents import Document
from bridge.models.tokenizer import Tokenizer
from bridge.pairing.align import Encoded

TOKENS = 2**24
"""Tokens that are cached at most: 256 MB. What comes after them is cut anew each time."""


@final
class CachedTokenizer(Tokenizer):
    """A tokenizer, and what it made of the documents that it was given.

    Args:
        tokenizer: The model's own.
        tokens: How many tokens to remember.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: int = TOKENS) -> None:
        self._tokenizer, self._room = tokenizer, tokens
        self._known: dict[tuple[Document, int], Encoded] = {}

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Return one `Encoded` a document, of at most `max_tokens` tokens, specials included; do not write to it."""
        new = list(dict.fromkeys(one for one in documents if (one, max_tokens) not in self._known))
        cut = dict(zip(new, self._tokenizer.encode(new, max_tokens), strict=True)) if new else {}
        for document, encoded in cut.items():
            self._room -= len(encoded.ids)
            if self._room < 0:
                break
            self._known[document, max_tokens] = encoded
        return [cut[one] if one in cut else self._known[one, max_tokens] for one in documents]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text that token ids stand for, specials left out."""
        return self._tokenizer.decode(ids)

    def remarks(self, documents: Sequence[Document]) -> list[str]:
        """Say what the model's own tokenizer says of these documents."""
        return self._tokenizer.remarks(documents)
