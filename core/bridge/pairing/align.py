"""Pairing of two models' tokens by equal character end offsets in one document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Document


@final
@dataclass(frozen=True)
class Encoded:
    """One document, tokenised for one model.

    Attributes:
        ids: Token ids for the model, special tokens included, shape (tokens,).
        ends: Offset in `Document.text` just after the last character of each token, shape (tokens,); -1 for tokens
            without text of the document (BOS, chat template) and for tokens of a character that was cut.
    """

    ids: NDArray[np.int64]
    ends: NDArray[np.int64]

    @property
    def kept(self) -> NDArray[np.intp]:
        """Positions of the tokens that stand for text: the rows that collection keeps, shape (rows,)."""
        return np.flatnonzero(self.ends >= 0)

    def is_cut(self, text: str, max_tokens: int) -> bool:
        """Tell whether the end of a text, white space aside, was not read because of `max_tokens`.

        Args:
            text: The document's text.
            max_tokens: Number of tokens at which the text was cut.

        Returns:
            Whether some of the text was cut off.
        """
        return len(self.ids) >= max_tokens and int(self.ends.max(initial=0)) < len(text.rstrip())

    def to_last_of_text(self) -> Encoded:
        """Leave out the tokens after the text, such as an EOS, so that generation can continue the text.

        Returns:
            The tokens up to the last token of the text; all tokens if none stands for text.
        """
        after = int(self.kept[-1]) + 1 if len(self.kept) else len(self.ids)
        return Encoded(self.ids[:after], self.ends[:after])


class Encoder(Protocol):
    """Tokenises documents."""

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Tokenise documents.

        Args:
            documents: Texts or conversations.
            max_tokens: Number of tokens after which documents are cut.

        Returns:
            One `Encoded` per document, of at most `max_tokens` tokens.
        """


@final
@dataclass(frozen=True)
class Pairs:
    """The paired rows of one document, as indices into each model's kept tokens.

    Attributes:
        src: Row of the source model, shape (pairs,).
        dst: Row of the destination model, shape (pairs,).
        eligible_src: Number of source rows that could be paired (after `skip`).
        eligible_dst: Number of destination rows that could be paired.
    """

    src: NDArray[np.intp]
    dst: NDArray[np.intp]
    eligible_src: int
    eligible_dst: int


def pair_document(src: Encoded, dst: Encoded, skip: int) -> Pairs:
    """Pair the tokens that end at the same character.

    If several tokens share an end (the bytes of one character), the last token is paired, because it has read the whole
    character. If both models have the same ids for a document, tokens are paired one by one.

    Args:
        src: The document, tokenised for the source model.
        dst: The document, tokenised for the destination model.
        skip: Number of text tokens to leave out at the start for each model, because they act as attention sinks.

    Returns:
        The paired rows, in order.
    """
    src_ends, dst_ends = src.ends[src.kept], dst.ends[dst.kept]
    if np.array_equal(src.ids[src.kept], dst.ids[dst.kept]) and np.array_equal(src_ends, dst_ends):
        rows = np.arange(len(src_ends))
        left = right = rows[skip:]
    else:
        _, left, right = np.intersect1d(_last(src_ends), _last(dst_ends), assume_unique=True, return_indices=True)
        left, right = _last_rows(src_ends)[left], _last_rows(dst_ends)[right]
        enough = (left >= skip) & (right >= skip)
        left, right = left[enough], right[enough]
    return Pairs(left, right, max(len(src_ends) - skip, 0), max(len(dst_ends) - skip, 0))


def _last_rows(ends: NDArray[np.int64]) -> NDArray[np.intp]:
    return np.flatnonzero(np.diff(ends, append=-1) != 0)


def _last(ends: NDArray[np.int64]) -> NDArray[np.int64]:
    return ends[_last_rows(ends)]
