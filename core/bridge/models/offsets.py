"""Where tokens end in a text: after the last character that a token has read all of, accents that follow included."""

from __future__ import annotations

import unicodedata

import numpy as np
from numpy.typing import NDArray

Offsets = NDArray[np.int64]

UNFINISHED = -1
"""The end of tokens whose last character was cut: no text is all that they have read."""


def text_ends(text: str, offsets: Offsets, following: int) -> Offsets:
    """Return for each token the end of the text that has been read, whole characters only, when it has been read.

    A tokenizer says which characters a token was made from, and that is not always where it ends:

    - A normaliser that composes (NFC) makes one character of a letter and the accent after it, and counts the letter
      alone: the end moves over what combines with it, up to where the next token starts.
    - A token may hold the first bytes of a character, of which the next token holds the others. Only the last of them
      has read the character; all get its end, and where they share one, the last stands for them.

    Ends never decrease.

    Args:
        text: What was cut into tokens.
        offsets: First and last character of each token, the last excluded, (tokens, 2) int64, specials left out.
        following: Where the token starts that was cut off after these; the text's length where none was.

    Returns:
        (tokens,) int64; `UNFINISHED` for tokens whose last character was finished by none.
    """
    ends = offsets[:, 1].copy()
    starts = np.append(offsets[1:, 0], following)
    for i in np.flatnonzero(starts != ends)[::-1].tolist():
        if starts[i] < ends[i]:
            ends[i] = ends[i + 1] if i + 1 < len(ends) else UNFINISHED
        else:
            while ends[i] < starts[i] and _combines(text[ends[i]]):
                ends[i] += 1
    return ends


def _combines(character: str) -> bool:
    """Tell whether a composing normaliser may make one character of this one and what stands before it.

    These are marks and the vowels and final consonants of Hangul, halfwidth ones too; see UAX #15.
    """
    first = unicodedata.normalize("NFKD", character)[0]
    return unicodedata.category(first).startswith("M") or "\u1160" <= first <= "\u11ff"
