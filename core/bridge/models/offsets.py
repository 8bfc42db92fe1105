"""Ends of tokens in a text: after the last character that is read completely, with accents that follow."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int64]

UNFINISHED = -1
"""The end of tokens whose last character was cut: no text is all that they have read."""


def text_ends(text: str, offsets: Offsets, following: int, normalise: Callable[[str], str] | None) -> Offsets:
    """Return for each token the end of the text that has been read, whole characters only, when it has been read.

    A tokenizer gives the characters that a token was made from; the end of the token can differ:

    - A normaliser that composes (NFC) makes one character of a letter and the accent after it, and counts the letter
      alone: the end moves over what combines with it, up to where the next token starts.
    - A normaliser may reorder accents, or compose a letter with a later one: tokens within such a letter have read
      what comes after them. They get the end of the token that finishes the letter.
    - A token may hold the first bytes of a character, of which the next token holds the others. It gets the next one's
      end.

    If tokens share an end, the last of them has read the text up to there. Ends never decrease.

    Args:
        text: The tokenised text.
        offsets: First and last character of each token, the last excluded, (tokens, 2) int64, without special tokens.
        following: Start of the first token that was cut off; the text's length if none was.
        normalise: What the tokenizer does to a text first; None if it does nothing.

    Returns:
        (tokens,) int64; `UNFINISHED` for tokens whose last character no token finishes.
    """
    ends = offsets[:, 1].copy()
    starts = np.append(offsets[1:, 0], following)
    suspects = starts != ends
    if normalise is not None and not text.isascii():
        suspects |= np.array([end < len(text) and _combines(text[end]) for end in ends.tolist()], dtype=bool)
    for i in np.flatnonzero(suspects)[::-1].tolist():
        end, limit = int(ends[i]), int(starts[i])
        while end < min(limit, len(text)) and _combines(text[end]):
            end += 1
        unfinished = limit < end or (normalise is not None and _reaches_on(text, end, normalise))
        ends[i] = (ends[i + 1] if i + 1 < len(ends) else UNFINISHED) if unfinished else end
    return ends


def _reaches_on(text: str, end: int, normalise: Callable[[str], str]) -> bool:
    """Tell whether what combines after `end` changes what a normaliser makes of the letter before it."""
    if end == len(text) or not _combines(text[end]):
        return False
    first, last = end - 1, end
    while first > 0 and _combines(text[first]):
        first -= 1
    while last < len(text) and _combines(text[last]):
        last += 1
    return not normalise(text[first:last]).startswith(normalise(text[first:end]))


def _combines(character: str) -> bool:
    """Tell whether a composing normaliser may make one character of this one and what stands before it.

    These are marks and the vowels and final consonants of Hangul, halfwidth ones too; see UAX #15.
    """
    if character < "\u0300":
        return False
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first).startswith("M") or "\u1160" <= first <= "\u11ff"
