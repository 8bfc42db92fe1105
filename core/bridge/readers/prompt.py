"""The prompt of a reader: its token ids, and the places where the vectors go."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

from bridge.errors import BridgeError, UsageError
from bridge.readers.reader import LAYER, QUESTION, VECTORS, Message, Prompt

REMEDY = "Fetch the whole checkpoint again, its tokenizer files and chat template included."
CAUSE = "The tokenizer or the chat template is not the one that the verbalizer was trained with."
HOLES = re.compile("|".join(re.escape(hole) for hole in (VECTORS, QUESTION, LAYER)))


@final
@dataclass(frozen=True)
class Placed:
    """A prompt as a model reads it.

    Attributes:
        ids: Its tokens.
        places: Where the vectors go, in rising order.
    """

    ids: tuple[int, ...]
    places: tuple[int, ...]


def placed(
    tokenizer: Any,
    prompt: Prompt,
    vectors: int = 1,
    question: str = "",
    layer: int | None = None,
    tokens: int = 1,
) -> Placed:
    """Return a prompt for so many vectors, checked against the live tokenizer.

    Args:
        tokenizer: Of transformers.
        prompt: What the reader's files say of it.
        vectors: How many vectors go in.
        question: What is asked, where it has a hole for that; it may hold anything, placeholders included.
        layer: The block that the vectors are of.
        tokens: How many placeholders a vector takes.

    Raises:
        UsageError: If a question is missing, or has no place.
        BridgeError: If tokenizer, chat template and prompt do not agree.
    """
    check_question(prompt, question)
    if vectors > 1 and not prompt.several:
        raise UsageError(
            f"This reader takes one vector a prompt, and {vectors} were given.",
            remedy="Explain them one by one, without a question.",
        )
    if layer is None and any(LAYER in message.content for message in prompt.messages):
        raise UsageError("The prompt of this reader names the layer, and the vectors are of no block's output.")
    token = _check_placeholder(tokenizer, prompt)
    vectors *= tokens
    ids = encoded(tokenizer, prompt, vectors, question, layer)
    places = [at for at, one in enumerate(ids) if one == token]
    if prompt.neighbours and vectors == 1:
        _check_neighbours(ids, places, token, prompt)
    if prompt.asks:
        # The question may hold the placeholder, too: what stands without a question is the prompt's own.
        bare = encoded(tokenizer, prompt, vectors, "", layer).count(token)
        text = "".join(message.content for message in prompt.messages)
        before = text.index(QUESTION) < text.index(VECTORS)
        places = places[-vectors:] if before and bare == vectors else places[:vectors] if bare == vectors else []
    if len(places) != vectors or places[-1] - places[0] != vectors - 1:
        raise BridgeError(
            f"{vectors} placeholders {prompt.placeholder!r} (token {token}) were written, and the prompt has "
            f"{len(places)} at {places[:10]}.",
            cause=CAUSE,
            remedy=REMEDY,
        )
    return Placed(tuple(ids), tuple(places))


def encoded(tokenizer: Any, prompt: Prompt, vectors: int, question: str, layer: int | None) -> list[int]:
    """Return the ids of a prompt, in one step: two steps would double the BOS.

    Raises:
        BridgeError: If the tokenizer has no chat template, or one that fails.
    """
    given = {VECTORS: prompt.placeholder * vectors, QUESTION: question, LAYER: "" if layer is None else str(layer)}

    def fill(message: Message) -> dict[str, str]:
        # In one pass: what a question holds is text, and no hole.
        return {"role": message.role, "content": HOLES.sub(lambda found: given[found[0]], message.content)}

    messages = [fill(message) for message in prompt.messages]
    after = tokenizer.encode(prompt.answer_prefix, add_special_tokens=False) if prompt.answer_prefix else []
    if not prompt.chat:
        return [*tokenizer.encode("".join(one["content"] for one in messages)), *after]
    try:
        found = tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=True, **prompt.template_options
        )
    except Exception as error:  # jinja and transformers raise many kinds, all meaning: this template cannot
        raise BridgeError(
            f"The tokenizer's chat template cannot make the prompt ({error}).", cause=CAUSE, remedy=REMEDY
        ) from error
    return [*found["input_ids"], *after]


def check_question(prompt: Prompt, question: str) -> None:
    """Refuse a question that has no place in a prompt, and a prompt that lacks its question.

    Raises:
        UsageError: If either is so.
    """
    if question and not prompt.asks:
        raise UsageError(
            "This reader takes no questions: its prompt is fixed.",
            remedy="Leave the question out, or use a reader that is asked, such as an activation oracle.",
        )
    if prompt.asks and not question.strip():
        raise UsageError(
            "This reader must be asked something.",
            remedy='Ask by --ask "Which topic is this about?", or by the option ask of the verbalizer.',
        )


def _check_placeholder(tokenizer: Any, prompt: Prompt) -> int:
    alone = tokenizer.encode(prompt.placeholder, add_special_tokens=False)
    if len(alone) != 1 or prompt.token_id not in (None, alone[0]):
        one = "one token" if prompt.token_id is None else f"the one token {prompt.token_id}"
        raise BridgeError(
            f"The tokenizer cuts {prompt.placeholder!r} into {alone}; the sidecar says it is {one}.",
            cause="The tokenizer is not the one that the verbalizer was trained with.",
            remedy=REMEDY,
        )
    return int(alone[0])


def _check_neighbours(ids: Sequence[int], places: Sequence[int], token: int, prompt: Prompt) -> None:
    wanted = prompt.neighbours or (-1, -1)
    matching = [at for at in places if 0 < at < len(ids) - 1 and (ids[at - 1], ids[at + 1]) == wanted]
    if len(matching) == len(places) == 1:
        return
    if places:
        around = tuple(ids[max(places[0] - 1, 0) : places[0] + 2])
        found = f"{len(places)} times, first within {around}; its sidecar says once, within {wanted[0]}, _, {wanted[1]}"
    else:
        found = "not at all"
    raise BridgeError(
        f"The injection token {token} ({prompt.placeholder!r}) stands in the prompt {found}.",
        cause=CAUSE,
        remedy=REMEDY,
    )
