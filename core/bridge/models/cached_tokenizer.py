"""A tokenizer with a cache: pairing, collection and explanation tokenise the same corpus."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from bridge.corpus.documents import Document
from bridge.models.tokenizer import Tokenizer
from bridge.pairing.align import Encoded

ROOM = 2**24
"""Maximal size of a cache in bytes. Later texts are tokenised again at each call, which costs little beside the forward
passes of a large corpus: memory does not grow with the corpus."""

OBJECTS = 600
"""Bytes of the Python objects around the two arrays of a document."""


@final
class CachedTokenizer(Tokenizer):
    """A tokenizer with a cache of its encoded documents.

    Args:
        tokenizer: The model's own tokenizer.
        room: Maximal size of the cache in bytes.
    """

    def __init__(self, tokenizer: Tokenizer, room: int = ROOM) -> None:
        self._tokenizer, self._room = tokenizer, room
        self._known: dict[tuple[Document, int], Encoded] = {}

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Return one read-only `Encoded` per document, of at most `max_tokens` tokens, special tokens included."""
        new = list(dict.fromkeys(one for one in documents if (one, max_tokens) not in self._known))
        cut = dict(zip(new, self._tokenizer.encode(new, max_tokens), strict=True)) if new else {}
        for document, encoded in cut.items():
            self._room -= encoded.ids.nbytes + encoded.ends.nbytes + OBJECTS
            if self._room < 0:
                break
            self._known[document, max_tokens] = encoded
        return [cut[one] if one in cut else self._known[one, max_tokens] for one in documents]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        return self._tokenizer.decode(ids)

    def remarks(self, documents: Sequence[Document]) -> list[str]:
        """Return the remarks of the model's own tokenizer on these documents."""
        return self._tokenizer.remarks(documents)
