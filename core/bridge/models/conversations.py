"""Conversations rendered by a model's own chat template, with the position of each message's content."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Document
from bridge.errors import ModelError

_MARK = "\ue000"
"""A private-use character, which no template contains: a placeholder for the contents of messages."""

Spans = list[tuple[int, int, int]]
"""For each message (start, end, offset of the content in `Document.text`), in characters of the templated text."""


def render(tokenizer: Any, name: str, document: Document) -> tuple[str, Spans]:
    """Return the templated text of a conversation, and the positions of its messages' contents in that text.

    Args:
        tokenizer: A tokenizer of transformers.
        name: Name of the model in errors.
        document: A conversation.

    Raises:
        ModelError: If the model has no chat template, or one that does not take these messages, or rewrites them.
    """
    contents = [message.content for message in document.messages]
    cores = [content.strip() for content in contents]
    text = _templated(tokenizer, name, document, contents)
    # A search for the contents could match the template's own words: a role, the default system prompt.
    marked = [
        content.replace(core, f"{_MARK}{i}{_MARK}", 1) if core else content
        for i, (content, core) in enumerate(zip(contents, cores, strict=True))
    ]
    parts = re.split(f"{_MARK}(\\d+){_MARK}", _templated(tokenizer, name, document, marked))
    spans: dict[int, tuple[int, int, int]] = {}
    rebuilt = parts[0]
    for found, after in zip(parts[1::2], parts[2::2], strict=True):
        i = int(found)
        lead = len(contents[i]) - len(contents[i].lstrip())
        offset = sum(map(len, contents[:i])) + lead
        spans.setdefault(i, (len(rebuilt), len(rebuilt) + len(cores[i]), offset))
        rebuilt += cores[i] + after
    if rebuilt != text or len(spans) < sum(map(bool, cores)):
        raise ModelError(
            f"The chat template of {name} rewrites the messages of {document.text[:60]!r}.",
            remedy="Use a corpus of plain text for this model.",
        )
    return text, list(spans.values())


def content_ends(ends: NDArray[np.int64], spans: Spans) -> NDArray[np.int64]:
    """Turn ends in the templated text into ends in `Document.text`, (tokens,) int64; -1 for the template's tokens."""
    mapped = np.full_like(ends, -1)
    for start, end, offset in spans:
        inside = (ends > start) & (ends <= end)
        mapped[inside] = ends[inside] - start + offset
    return mapped


def _templated(tokenizer: Any, name: str, document: Document, contents: Sequence[str]) -> str:
    turns = [
        {"role": message.role, "content": content} for message, content in zip(document.messages, contents, strict=True)
    ]
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception as error:  # jinja and transformers raise many kinds, all meaning: this template cannot
        raise ModelError(
            f"The conversation {document.text[:60]!r} does not fit the chat template of {name} ({error}).",
            cause="The model has no chat template, or one that forbids these roles or their order.",
            remedy="Use an instruct model, or a corpus of plain text.",
        ) from error
