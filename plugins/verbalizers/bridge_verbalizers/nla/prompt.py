"""The fixed prompt of an activation verbalizer: its token ids, and the one place where the vector goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge_verbalizers.nla.sidecar import Sidecar, Tokens

Floats = NDArray[np.float32]

REMEDY = "Fetch the whole checkpoint again, its tokenizer files and chat template included."


def prompt_ids(tokenizer: Any, template: str, injection_char: str) -> list[int]:
    """Return the ids of the prompt as the model was trained on it, in one step: two steps would double the BOS.

    Args:
        tokenizer: A tokenizer of transformers with a chat template.
        template: The user's message, with `{injection_char}`.
        injection_char: What stands where the vector goes.

    Raises:
        BridgeError: If the tokenizer has no chat template, or one that fails.
    """
    message = {"role": "user", "content": template.replace("{injection_char}", injection_char)}
    try:
        encoded = tokenizer.apply_chat_template([message], tokenize=True, add_generation_prompt=True, return_dict=True)
    except Exception as error:  # jinja and transformers raise many kinds, all meaning: this template cannot
        raise BridgeError(
            f"The tokenizer's chat template cannot make the prompt ({error}).",
            cause="The tokenizer or the chat template is not the one that the verbalizer was trained with.",
            remedy=REMEDY,
        ) from error
    return list(encoded["input_ids"])


def injection_position(ids: Sequence[int], tokens: Tokens) -> int:
    """Return where the vector goes: the injection token between its two neighbours.

    Raises:
        BridgeError: If it stands there not once (even where one has the right neighbours), or between other tokens.
    """
    places = [at for at, token in enumerate(ids) if token == tokens.injection_token_id]
    wanted = (tokens.injection_left_neighbor_id, tokens.injection_right_neighbor_id)
    matching = [at for at in places if 0 < at < len(ids) - 1 and (ids[at - 1], ids[at + 1]) == wanted]
    if len(matching) == len(places) == 1:
        return matching[0]
    if places:
        at = places[0]
        around = tuple(ids[max(at - 1, 0) : at + 2])
        found = f"{len(places)} times, first within {around}; its sidecar says once, within {wanted[0]}, _, {wanted[1]}"
    else:
        found = "not at all"
    raise BridgeError(
        f"The injection token {tokens.injection_token_id} ({tokens.injection_char!r}) stands in the prompt {found}.",
        cause="The tokenizer or the chat template is not the one that the verbalizer was trained with.",
        remedy=REMEDY,
    )


def scaled(vectors: Floats, scale: float | None) -> Floats:
    """Give vectors the length that the verbalizer was trained with: (..., d_model) float32, none of zeros.

    Args:
        vectors: (..., d_model) float32.
        scale: The length, or None to leave theirs.
    """
    if scale is None:
        return vectors
    # In float64, where the square of no float32 overflows or vanishes.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors * (scale / lengths), np.float32)


def checked_prompt(tokenizer: Any, sidecar: Sidecar) -> tuple[list[int], int]:
    """Return a sidecar's prompt ids, and where the vector goes, checked against the live tokenizer.

    Raises:
        BridgeError: If tokenizer, template and sidecar do not agree.
    """
    alone = tokenizer.encode(sidecar.tokens.injection_char, add_special_tokens=False)
    if alone != [sidecar.tokens.injection_token_id]:
        raise BridgeError(
            f"The tokenizer cuts {sidecar.tokens.injection_char!r} into {alone}; the sidecar says "
            f"it is the one token {sidecar.tokens.injection_token_id}.",
            cause="The tokenizer is not the one that the verbalizer was trained with.",
            remedy=REMEDY,
        )
    ids = prompt_ids(tokenizer, sidecar.template, sidecar.tokens.injection_char)
    return ids, injection_position(ids, sidecar.tokens)
