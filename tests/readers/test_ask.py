"""`explain --ask`: the activations of a text's chosen tokens stand together, and it has one answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import bridge
from bridge.errors import UsageError
from bridge.readers.verbalizer import ReaderVerbalizer
from bridge.verbalizers import Explanation


def test_one_answer_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal texts that are given twice are two; the own verbalizer of the bundled model reads, so no map is fitted."""
    texts = ["The farmer milked the cow.", "Tom sat.", "Tom sat.", "The farmer milked the cow."]
    with pytest.raises(UsageError, match="takes no questions"):
        bridge.explain("tiny-gemma", "tiny-gemma", texts, ask="Which topic is this?")

    def ask(self: object, groups: Sequence[np.ndarray], question: str) -> list[Explanation]:
        return [Explanation(f"{question} {group.shape}") for group in groups]

    monkeypatch.setattr(ReaderVerbalizer, "ask", ask)
    one_by_one = bridge.explain("tiny-gemma", "tiny-gemma", texts[:2], every=2, ask="How many?")
    all_of_them = bridge.explain("tiny-gemma", "tiny-gemma", texts, every=2, ask="How many?")
    said = [reading.explanation for reading in all_of_them.readings]
    assert said[:2] == [reading.explanation for reading in one_by_one.readings]
    assert said[2:] == said[1::-1] and said[0] != said[1]
    assert [reading.text for reading in all_of_them.readings] == texts
    assert all_of_them.provenance["question"] == "How many?"
    with pytest.raises(UsageError, match="asked of texts, and not of directions"):
        bridge.explain("tiny-gemma", "tiny-gemma", directions={"x": np.ones(112)}, ask="What?")
