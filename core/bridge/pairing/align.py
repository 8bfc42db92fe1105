"""Which token of one model corresponds to which token of another: equal character end offsets of one document."""

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
    """One document as one model sees it.

    Attributes:
        ids: Token ids as fed to the model, specials included, shape (tokens,).
        ends: Offset in `Document.text` just after the last character of each token, shape (tokens,); -1 for tokens
            that stand for none of the document's text (BOS, chat template), or hold a character that was cut.
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
            max_tokens: After how many tokens it was cut.

        Returns:
            Whether some of the text was cut off.
        """
        return len(self.ids) >= max_tokens and int(self.ends.max(initial=0)) < len(text.rstrip())

    def to_last_of_text(self) -> Encoded:
        """Leave out what follows the text: an EOS, from which nothing continues.

        Returns:
            The tokens up to the last that stands for text; all of them where none does.
        """
        after = int(self.kept[-1]) + 1 if len(self.kept) else len(self.ids)
        return Encoded(self.ids[:after], self.ends[:after])


class Encoder(Protocol):
    """Cuts documents into tokens."""

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Return one `Encoded` a document, of at most `max_tokens` tokens."""


@final
@dataclass(frozen=True)
class Pairs:
    """Rows of one document that correspond, as indices into each model's kept tokens.

    Attributes:
        src: Row of the source model, shape (pairs,).
        dst: Row of the destination model, shape (pairs,).
        eligible_src: How many source rows could have been paired (after `skip`).
        eligible_dst: How many destination rows could have been paired.
    """

    src: NDArray[np.intp]
    dst: NDArray[np.intp]
    eligible_src: int
    eligible_dst: int


def pair_document(src: Encoded, dst: Encoded, skip: int) -> Pairs:
    """Pair the tokens that end at the same character.

    Where several tokens share an end (the bytes of one character), the last one has read it all and stands for them;
    documents that both models cut into the same ids pair token by token.

    Args:
        src: The document as the source model sees it.
        dst: The document as the destination model sees it.
        skip: Leave out the first so many text tokens of each model: they act as attention sinks.

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
