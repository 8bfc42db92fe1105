"""The prompt of a reader: its token ids, and the positions of the vectors."""

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
    """A tokenised prompt.

    Attributes:
        ids: Its token ids.
        places: Positions of the vectors, in ascending order.
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
    """Tokenise a prompt for a number of vectors, and check it.

    Args:
        tokenizer: A tokenizer of transformers.
        prompt: The prompt in the reader's files.
        vectors: Number of vectors.
        question: The question, if the prompt takes one; any text, which may contain placeholders.
        layer: The block whose output the vectors are.
        tokens: Number of placeholders for each vector.

    Raises:
        UsageError: If the question is missing, or the prompt takes none.
        BridgeError: If tokenizer, chat template and prompt do not match.
    """
    check_question(prompt, question)
    if vectors > 1 and not prompt.several:
        raise UsageError(
            f"The prompt of this reader takes one vector, and {vectors} were given.",
            remedy="Explain the vectors one by one, without a question.",
        )
    if layer is None and any(LAYER in message.content for message in prompt.messages):
        raise UsageError("The prompt of this reader names the layer, but the vectors are not the output of a block.")
    token = _check_placeholder(tokenizer, prompt)
    vectors *= tokens
    ids = encoded(tokenizer, prompt, vectors, question, layer)
    places = [at for at, one in enumerate(ids) if one == token]
    if prompt.neighbours and vectors == 1:
        _check_neighbours(ids, places, token, prompt)
    if prompt.asks:
        # The question may contain placeholders, too: without a question, only those of the prompt are left.
        bare = encoded(tokenizer, prompt, vectors, "", layer).count(token)
        text = "".join(message.content for message in prompt.messages)
        before = text.index(QUESTION) < text.index(VECTORS)
        places = places[-vectors:] if before and bare == vectors else places[:vectors] if bare == vectors else []
    if len(places) != vectors or places[-1] - places[0] != vectors - 1:
        raise BridgeError(
            f"The prompt should have {vectors} placeholders {prompt.placeholder!r} (token {token}) in a row, but has "
            f"{len(places)} at {places[:10]}.",
            cause=CAUSE,
            remedy=REMEDY,
        )
    return Placed(tuple(ids), tuple(places))


def encoded(tokenizer: Any, prompt: Prompt, vectors: int, question: str, layer: int | None) -> list[int]:
    """Return the ids of a prompt, tokenised with its chat template in one step: two steps could add BOS twice.

    Raises:
        BridgeError: If the tokenizer has no chat template, or the template fails.
    """
    given = {VECTORS: prompt.placeholder * vectors, QUESTION: question, LAYER: "" if layer is None else str(layer)}

    def fill(message: Message) -> dict[str, str]:
        # In one pass: a question that contains {vectors} or {layer} stays as it is.
        return {"role": message.role, "content": HOLES.sub(lambda found: given[found[0]], message.content)}

    messages = [fill(message) for message in prompt.messages]
    after = tokenizer.encode(prompt.answer_prefix, add_special_tokens=False) if prompt.answer_prefix else []
    if not prompt.chat:
        return [*tokenizer.encode("".join(one["content"] for one in messages)), *after]
    try:
        found = tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=True, return_dict=True, **prompt.template_options
        )
    except Exception as error:  # jinja and transformers raise many exceptions if a template fails
        raise BridgeError(
            f"The chat template of the tokenizer failed on the prompt ({error}).", cause=CAUSE, remedy=REMEDY
        ) from error
    return [*found["input_ids"], *after]


def check_question(prompt: Prompt, question: str) -> None:
    """Refuse a question for a prompt that takes none, and a missing question.

    Raises:
        UsageError: If the question is missing, or the prompt takes none.
    """
    if question and not prompt.asks:
        raise UsageError(
            "This reader takes no questions: its prompt is fixed.",
            remedy="Leave the question out, or use a reader that answers questions, such as an activation oracle.",
        )
    if prompt.asks and not question.strip():
        raise UsageError(
            "This reader needs a question.",
            remedy='Give one with --ask "Which topic is this about?", or with the option ask of the verbalizer.',
        )


def _check_placeholder(tokenizer: Any, prompt: Prompt) -> int:
    alone = tokenizer.encode(prompt.placeholder, add_special_tokens=False)
    if len(alone) != 1 or prompt.token_id not in (None, alone[0]):
        one = "one token" if prompt.token_id is None else f"the one token {prompt.token_id}"
        raise BridgeError(
            f"The tokenizer splits {prompt.placeholder!r} into {alone}; the sidecar says that it is {one}.",
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
        found = f"{len(places)} times, first in {around}; the sidecar says once, in {wanted[0]}, _, {wanted[1]}"
    else:
        found = "not at all"
    raise BridgeError(
        f"The injection token {token} ({prompt.placeholder!r}) occurs in the prompt {found}.",
        cause=CAUSE,
        remedy=REMEDY,
    )
