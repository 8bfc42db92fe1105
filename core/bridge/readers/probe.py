"""How a vector goes in, where files do not say it: each way is tried, and what the reader then writes tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.readers.reader import Injection
from bridge.verbalizers import Explanation

PROBED = 200
"""Tokens that an answer may have."""

WRONG = {"untagged", "empty", "foreign_script", "truncated"}
"""Flags of an answer that is not in the form that the reader was trained to write."""


def unlike_vectors(d_model: int) -> NDArray[np.float32]:
    """Return two vectors at a right angle, (2, d_model) float32, as long as ordinary activations: sqrt(d_model)."""
    drawn = np.linalg.qr(np.random.default_rng(0).normal(size=(d_model, 2)))[0].T
    return np.ascontiguousarray(drawn * np.sqrt(d_model), np.float32)


def chosen_by_probe(way: Injection) -> str:
    """Say which injection a probe chose, for the user."""
    place = "the embedding of the placeholder" if way.block is None else f"the output of block {way.block}"
    verb = "is added to" if way.how == "add" else "replaces"
    return (
        f"Its files do not say how a vector is injected. A probe with two vectors chose inject={way.how} (the vector "
        f"{verb} {place}): only then did the answers differ and have the right form. The option inject decides instead."
    )


def told_apart(ways: Sequence[Injection], answers: Callable[[Injection], list[Explanation]]) -> Injection:
    """Return the one way in which the answers about two unlike vectors differ, and keep their form.

    Args:
        ways: Those that come into question.
        answers: Returns what the reader says of the two vectors, given one.

    Raises:
        BridgeError: If none does so, or several do.
    """
    said = {way: answers(way) for way in ways}
    heard = [
        way for way, (one, other) in said.items() if one.text != other.text and not WRONG & {*one.flags, *other.flags}
    ]
    if len(heard) == 1:
        return heard[0]
    named = " and ".join(dict.fromkeys(f"inject={way.how}" for way in ways))
    found = "in several ways" if heard else "in no way"
    raise BridgeError(
        "The files of this reader do not say how a vector goes in, and trying does not tell: its answers about two "
        f"unlike vectors differ, in their right form, {found} of {named}.",
        cause="Its sidecar is that of another kind of reader, or it has learnt little.",
        remedy="Say how it was trained: by the option inject=add or inject=replace.",
    )
