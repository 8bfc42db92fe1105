"""Tokenizers in trainings: the prompt's chat template, and responses as token ids."""

from __future__ import annotations

from typing import Any

from bridge.errors import ModelError
from bridge.models import TransformersTokenizer

CHAT_TEMPLATE = "{{ bos_token }}{% for message in messages %}{{ message['content'] }}{% endfor %}\n"
"""Short, because every token of the fixed prompt costs time in every step, and fine-tuning replaces its meaning."""


def transformers_tokenizer(loaded: Any) -> TransformersTokenizer:
    """Return the tokenizer of a loaded model of transformers.

    Raises:
        ModelError: If the model is not a transformers model.
    """
    tokenizer = loaded.tokenizer
    if not isinstance(tokenizer, TransformersTokenizer) or not hasattr(loaded.module, "get_input_embeddings"):
        raise ModelError(
            f"{loaded.name} is no model of transformers: no reader can be trained from it.",
            remedy="Use one that needs no training: --verbalizer logit_lens, exemplars or patchscope.",
        )
    return tokenizer


def response(tokenizer: TransformersTokenizer, text: str) -> list[int]:
    """Return the ids of a response, with the token that ends it.

    Raises:
        ModelError: If the tokenizer has no such token.
    """
    said = tokenizer.tokenizer.encode(text, add_special_tokens=False)
    if not tokenizer.ends():
        raise ModelError(
            f"The tokenizer of {tokenizer.name} has no token that ends a text, so a verbalizer could not stop.",
            remedy="Say which one it is: eos_token in its tokenizer_config.json.",
        )
    return [*said, tokenizer.ends()[0]]
