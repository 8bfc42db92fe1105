"""A probe that chooses between possible injections if the files of a reader do not name one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.readers.reader import Injection
from bridge.verbalizers import Explanation

PROBED = 200
"""Token limit of the probe's answers."""

WRONG = {"untagged", "empty", "foreign_script", "truncated"}
"""Flags of an answer without the form that the reader was trained to write."""


def unlike_vectors(d_model: int) -> NDArray[np.float32]:
    """Return two orthogonal vectors of length sqrt(d_model), (2, d_model) float32."""
    drawn = np.linalg.qr(np.random.default_rng(0).normal(size=(d_model, 2)))[0].T
    return np.ascontiguousarray(drawn * np.sqrt(d_model), np.float32)


def chosen_by_probe(way: Injection) -> str:
    """Say which injection a probe chose, for the user."""
    place = "the embedding of the placeholder" if way.block is None else f"the output of block {way.block}"
    verb = "is added to" if way.how == "add" else "replaces"
    return (
        f"Its files do not say how a vector is injected. A probe with two vectors chose inject={way.how} (the vector "
        f"{verb} {place}): only then did the answers differ and have the right form. The option inject overrides this."
    )


def told_apart(ways: Sequence[Injection], answers: Callable[[Injection], list[Explanation]]) -> Injection:
    """Return the only injection with which the answers about two orthogonal vectors differ and have the right form.

    Args:
        ways: The possible injections.
        answers: Returns the reader's answers about the two vectors for one injection.

    Raises:
        BridgeError: If there is no such injection, or more than one.
    """
    said = {way: answers(way) for way in ways}
    heard = [
        way for way, (one, other) in said.items() if one.text != other.text and not WRONG & {*one.flags, *other.flags}
    ]
    if len(heard) == 1:
        return heard[0]
    named = " and ".join(dict.fromkeys(f"inject={way.how}" for way in ways))
    found = "more than one" if heard else "none"
    raise BridgeError(
        "The files of this reader do not say how a vector is injected, and a probe could not decide: the answers about "
        f"two orthogonal vectors differ and have the right form with {found} of {named}.",
        cause="The reader has another format, or its training was too short.",
        remedy="Set the option to the injection that it was trained with: inject=add or inject=replace.",
    )
