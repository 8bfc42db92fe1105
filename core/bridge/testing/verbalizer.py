"""The laws of verbalizers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bridge.errors import BridgeError, ShapeError, UsageError
from bridge.testing.laws import Laws
from bridge.verbalizers import Blends, Explanation, Verbalizer

COUNT = 4


def check_verbalizer(verbalizer: Verbalizer) -> None:
    """Test the laws of `bridge.verbalizers.Verbalizer` on one verbalizer.

    The verbalizer explains four seeded random unit vectors, (4, d_model) float32: in both orders, with one background,
    and with two; then no vectors, vectors of other widths, and vectors of zeros.

    Args:
        verbalizer: An open verbalizer; `TinySubject` can be used to open it.

    Raises:
        ConformanceError: If a law is broken.
    """
    laws = Laws(f"The verbalizer {type(verbalizer).__name__}", "bridge.verbalizers.Verbalizer")
    vectors = np.random.default_rng(0).normal(size=(COUNT, verbalizer.d_model)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    given = f"{COUNT} unit vectors of {verbalizer.d_model} dimensions"
    forwards = _explain(laws, verbalizer, vectors, given)
    law = "the same vectors give the same explanations"
    again = _explain(laws, verbalizer, vectors, given)
    laws.require(again == forwards, law, given, f"first {forwards}, then {again}")
    backwards = _explain(laws, verbalizer, vectors[::-1].copy(), f"{given}, in reverse")
    law = "one explanation per vector, in order"
    laws.require(backwards[::-1] == forwards, law, f"{given}, in reverse", f"{backwards} is not {forwards} reversed")
    _explain(laws, verbalizer, vectors[:0], "no vectors")
    _check_blends(laws, verbalizer, vectors)
    _check_refusals(laws, verbalizer, vectors)
    _check_reconstruction(laws, verbalizer, [explanation.text for explanation in forwards])
    notes: object = verbalizer.notes()
    whole = isinstance(notes, list) and all(isinstance(note, str) for note in notes)
    laws.require(whole, "notes returns a list of texts", "the calls before", f"{notes!r}")


def _explain(laws: Laws, verbalizer: Verbalizer, vectors: np.ndarray, given: str) -> list[Explanation]:
    return _complete(laws, verbalizer.explain(vectors), len(vectors), given)


def _complete(laws: Laws, explanations: Sequence[object], count: int, given: str) -> list[Explanation]:
    law = "one explanation per vector, in order"
    found = f"{len(explanations)} explanations for {count} vectors"
    laws.require(len(explanations) == count, law, given, found)
    whole = [one for one in explanations if isinstance(one, Explanation) and isinstance(one.text, str)]
    laws.require(len(whole) == count, law, given, f"not all of {explanations} are a bridge.verbalizers.Explanation")
    return whole


def _check_blends(laws: Laws, verbalizer: Verbalizer, vectors: np.ndarray) -> None:
    backgrounds = 2 * np.roll(vectors, 1, axis=1)[:2]
    blends = (backgrounds + 3 * vectors[:, None]).astype(np.float32)
    law = "explain_blends of a single background with beta 0 equals explain of the blends"
    given = f"{COUNT} vectors blended into one background"
    single = verbalizer.explain_blends(Blends(blends[:, :1], backgrounds[:1]))
    plain = verbalizer.explain(blends[:, 0].copy())
    laws.require(single == plain, law, given, f"{single}, not {plain}")
    given = f"{COUNT} vectors blended into two backgrounds"
    for beta in (0.0, 0.5):
        law = "explain_blends gives one explanation per direction, or refuses a beta other than 0 with a UsageError"
        try:
            explanations = verbalizer.explain_blends(Blends(blends, backgrounds, beta))
        except Exception as error:  # any other error breaks the law
            refused = beta != 0 and isinstance(error, UsageError)
            laws.require(refused, law, f"{given}, beta {beta}", f"{type(error).__name__}: {error}")
        else:
            _complete(laws, explanations, COUNT, f"{given}, beta {beta}")


def _check_refusals(laws: Laws, verbalizer: Verbalizer, vectors: np.ndarray) -> None:
    law = "vectors of another width are refused with a ShapeError"
    for wrong in (np.pad(vectors, ((0, 0), (0, 1))), vectors[:, :-1], vectors[0]):
        _check_refused(laws, verbalizer, wrong, ShapeError, law, f"vectors of shape {wrong.shape}")
    law = "a zero, NaN or infinite vector has no direction, and is refused with a BridgeError"
    for columns, value in ((slice(None), 0.0), (0, np.nan), (0, np.inf)):
        wrong = vectors.copy()
        wrong[1, columns] = value
        _check_refused(laws, verbalizer, wrong, BridgeError, law, f"{COUNT} vectors, {value} in the second")


def _check_refused(
    laws: Laws, verbalizer: Verbalizer, wrong: np.ndarray, expected: type[Exception], law: str, given: str
) -> None:
    refused, found = False, ""
    try:
        found = f"it returned {verbalizer.explain(wrong)}"
    except expected:
        refused = True
    except Exception as error:  # any other error breaks the law
        found = f"{type(error).__name__}: {error}"
    laws.require(refused, law, given, found)


def _check_reconstruction(laws: Laws, verbalizer: Verbalizer, texts: list[str]) -> None:
    law = "reconstructs says whether reconstruct works"
    given = f"{len(texts)} texts, and a verbalizer whose reconstructs is {verbalizer.reconstructs}"
    try:
        rebuilt = verbalizer.reconstruct(texts)
    except BridgeError as error:
        laws.require(not verbalizer.reconstructs, law, given, f"{type(error).__name__}: {error}")
        return
    laws.require(verbalizer.reconstructs, law, given, "it returned vectors")
    law = "reconstruct gives one finite float32 vector of width d_model per text"
    laws.shape(law, f"{len(texts)} texts", rebuilt, (len(texts), verbalizer.d_model), np.float32)
