"""One token a byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import numpy as np

from bridge.corpus import Document
from bridge.models import Tokenizer
from bridge.pairing import Encoded

BOS = 256
VOCABULARY = 257


@final
class Bytes(Tokenizer):
    """BOS, then one token a byte of UTF-8; all bytes of a character end where the character does."""

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Cut documents into bytes; a conversation is read as the text of its messages."""
        encoded = []
        for document in documents:
            # No character is less than a byte: the rest of a long text cannot matter.
            parts = [character.encode("utf-8", "replace") for character in document.text[:max_tokens]]
            ids = [BOS, *b"".join(parts)][:max_tokens]
            ends = [-1, *(end for end, part in enumerate(parts, start=1) for _ in part)][:max_tokens]
            encoded.append(Encoded(np.array(ids, dtype=np.int64), np.array(ends, dtype=np.int64)))
        return encoded

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without BOS."""
        return bytes(index for index in ids if index != BOS).decode("utf-8", "replace")
