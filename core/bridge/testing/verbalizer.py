"""The laws of verbalizers."""

from __future__ import annotations

import numpy as np

from bridge.errors import BridgeError, ShapeError
from bridge.testing.laws import Laws
from bridge.verbalizers import Explanation, Verbalizer

COUNT = 4


def check_verbalizer(verbalizer: Verbalizer) -> None:
    """Try the laws of `bridge.verbalizers.Verbalizer` on one verbalizer.

    It explains four seeded random unit vectors, (4, d_model) float32, forwards and backwards, and none at all.

    Args:
        verbalizer: An instance, ready to explain.

    Raises:
        ConformanceError: If a law is broken.
    """
    laws = Laws(f"The verbalizer {verbalizer.name}", "bridge.verbalizers.Verbalizer")
    vectors = np.random.default_rng(0).normal(size=(COUNT, verbalizer.d_model)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given = f"{COUNT} unit vectors of {verbalizer.d_model} dimensions"
    forwards = _explain(laws, verbalizer, vectors, given)
    law = "the same vectors give the same explanations"
    again = _explain(laws, verbalizer, vectors, given)
    laws.require(again == forwards, law, given, f"first {forwards}, then {again}")
    backwards = _explain(laws, verbalizer, vectors[::-1].copy(), f"{given}, in reverse")
    law = "one explanation a vector, in order"
    laws.require(backwards[::-1] == forwards, law, f"{given}, in reverse", f"{backwards} is not {forwards} reversed")
    _explain(laws, verbalizer, vectors[:0], "no vectors")
    _check_refusal(laws, verbalizer, vectors)
    _check_reconstruction(laws, verbalizer, [explanation.text for explanation in forwards])


def _explain(laws: Laws, verbalizer: Verbalizer, vectors: np.ndarray, given: str) -> list[Explanation]:
    law = "one explanation a vector, in order"
    explanations = verbalizer.explain(vectors)
    found = f"{len(explanations)} explanations came back for {len(vectors)} vectors"
    laws.require(len(explanations) == len(vectors), law, given, found)
    for explanation in explanations:
        fits = isinstance(explanation, Explanation) and isinstance(explanation.text, str)
        laws.require(fits, law, given, f"{explanation!r} is no bridge.verbalizers.Explanation")
    return explanations


def _check_refusal(laws: Laws, verbalizer: Verbalizer, vectors: np.ndarray) -> None:
    law = "vectors of another width are refused with a ShapeError"
    for wrong in (np.pad(vectors, ((0, 0), (0, 1))), vectors[:, :-1], vectors[0]):
        found = "they were explained"
        try:
            verbalizer.explain(wrong)
        except ShapeError:
            continue
        except Exception as error:  # anything else is the finding
            found = f"{type(error).__name__}: {error}"
        laws.require(False, law, f"vectors of shape {wrong.shape}", found)


def _check_reconstruction(laws: Laws, verbalizer: Verbalizer, texts: list[str]) -> None:
    try:
        rebuilt = verbalizer.reconstruct(texts)
    except BridgeError:
        return
    law = "reconstruct gives one finite float32 vector of width d_model a text"
    laws.shape(law, f"{len(texts)} texts", rebuilt, (len(texts), verbalizer.d_model), np.float32)
