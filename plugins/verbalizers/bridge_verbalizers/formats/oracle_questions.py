"""Training data of an activation oracle: consecutive activations of a text, and questions that its text answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import CorpusError
from bridge.verbalizers import Passage, Recipe, Subject
from bridge_verbalizers.training.drawn import Drawn
from bridge_verbalizers.training.examples import HELD_OUT, text_before, topic_of

SEVERAL = 4
"""Number of consecutive activations in questions about several; all other questions are about the last one of them."""

BEFORE, AFTER, WORD = "What are the last words?", "Which words come next?", "What is the last word?"
TOPIC = "What is the topic?"

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Asked:
    """Activations, with the answers to every question.

    Attributes:
        x: (n, SEVERAL, d_model) float32: the activation of a token, last, and of the rows before it in its text.
        answers: By question, n strings.
        mean: Mean activation of the training documents, (d_model,) float32.
    """

    x: Floats
    answers: dict[str, list[str]]
    mean: Floats


def gather_questions(subject: Subject, recipe: Recipe) -> tuple[Asked, Asked]:
    """Draw the training examples and the held-out examples, in one pass over each half of the documents.

    Args:
        subject: The model and its texts.
        recipe: The number of examples, the length of answers, and whether to ask about topics.

    Returns:
        Training and held-out examples; the mean of both is of the training documents.

    Raises:
        CorpusError: If no text is long enough, or a document does not have the topic that the recipe needs.
    """
    questions = _questions(recipe)

    def keep(passage: Passage, row: int) -> tuple[Floats, list[str]]:
        rows = passage.x[row + 1 - SEVERAL : row + 1].copy()
        return rows, [answer(passage, row) for answer in questions.values()]

    draw = Drawn(recipe.steps * recipe.batch, subject.seed, keep, SEVERAL - 1)
    held_out = Drawn(HELD_OUT, subject.seed + 1, keep, SEVERAL - 1)
    total, rows = np.zeros(subject.d_model), 0
    for passage in subject.passages():
        total += passage.x.sum(0, dtype=np.float64)
        rows += len(passage.x)
        draw.see(passage)
    for passage in subject.passages(held_out=True):
        held_out.see(passage)
    drawn, tested = draw.examples(), held_out.examples()
    if not drawn or not tested:
        raise CorpusError(f"The corpus has no text for {subject.name} to be asked about.", remedy="Give more text.")
    mean = (total / rows).astype(np.float32)
    return _asked(drawn, questions, mean), _asked(tested, questions, mean)


def _asked(
    kept: list[tuple[Floats, list[str]]], questions: dict[str, Callable[[Passage, int], str]], mean: Floats
) -> Asked:
    answers = {question: [one[at] for _, one in kept] for at, question in enumerate(questions)}
    return Asked(np.stack([x for x, _ in kept]), answers, mean)


def _questions(recipe: Recipe) -> dict[str, Callable[[Passage, int], str]]:
    found: dict[str, Callable[[Passage, int], str]] = {
        BEFORE: partial(text_before, recipe),
        AFTER: partial(_text_after, recipe.characters),
        WORD: _last_word,
    }
    return found | ({TOPIC: lambda passage, _: topic_of(passage)} if recipe.topics else {})


def _text_after(characters: int, passage: Passage, row: int) -> str:
    rest = passage.document.text[passage.ends[row] :]
    head = rest[:characters]
    if len(head) < len(rest) and not rest[characters].isspace():
        head = head.rpartition(" ")[0] or head
    return " ".join(head.split())


def _last_word(passage: Passage, row: int) -> str:
    # Of a word of several tokens, the part up to this one.
    return (passage.document.text[: passage.ends[row]].split() or [""])[-1]
