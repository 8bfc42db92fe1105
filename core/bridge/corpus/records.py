"""Records of datasets as documents: texts, and conversations in common forms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bridge.corpus.documents import Document, Message
from bridge.errors import CorpusError

CONVERSATIONS = ("messages", "conversations", "conversation")
"""Keys of conversations in records; `text` has lower priority than the first key."""

KEYS = (*CONVERSATIONS, "text", "group", "topic")
"""All keys of records that are read."""

SHAREGPT = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "observation": "tool"}
"""Roles of the ShareGPT form, `{"from": ..., "value": ...}`, by the role names of chat templates."""

NO_CONTENT = ("tool_calls", "function_call", "reasoning_content", "reasoning", "thinking")
"""Keys of turns other than content; a chat template may show them, but the joined text does not."""

TEXT_PARTS = ("text", "input_text", "output_text")

SHAREGPT_READ = "Conversations in ShareGPT form (from, value), read as messages of user (human) and assistant (gpt)"


def documents_of(records: Iterable[Any], name: str, remarks: Counter[str]) -> Iterator[Document]:
    """Turn records into documents; records without text are skipped.

    Args:
        records: Each with `text`, or with `messages` (or `conversations`) of `role` and `content`, and optionally
            `group` and `topic`.
        name: Name of the corpus, for error messages.
        remarks: Counts, by remark, the records that are changed or partly left out when read.

    Raises:
        CorpusError: If a record has none of these, or text that is not Unicode.
    """
    for number, record in enumerate(records, 1):
        noticed: set[str] = set()
        try:
            key = _where(record)
            messages = () if key == "text" else _turns(record[key], noticed)
            text = record["text"] if key == "text" else "".join(message.content for message in messages)
            if not isinstance(text, str):
                raise TypeError("its text is not a string")
            given = record.get("group")
            group = text if given is None or given == "" else str(given)
            topic = str(record.get("topic") or "")
            # JSON can contain lone surrogates, which are not characters and cannot be encoded later.
            "".join((text, group, topic, *(message.role for message in messages))).encode()
        except UnicodeEncodeError as error:
            raise CorpusError(f"Record {number} of {name} is not valid Unicode ({error.reason}).") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"Record {number} of {name} has neither a text nor messages.",
                cause=f"{str(error.args[0]).capitalize()}." if isinstance(error, TypeError) else "",
                remedy='Each record must be {"text": "..."} or {"messages": [{"role": "...", "content": "..."}]}.',
            ) from error
        if text.strip():
            remarks.update(noticed)
            yield Document(text, group, messages, topic)


def _where(record: Any) -> str:
    if not isinstance(record, Mapping):
        raise TypeError("it is not an object")
    first, *others = CONVERSATIONS
    return next((key for key in (first, "text", *others) if key in record), "text")


def _turns(turns: Any, noticed: set[str]) -> tuple[Message, ...]:
    if not isinstance(turns, list | tuple):
        raise TypeError("its messages are not a list")
    return tuple(_turn(turn, noticed) for turn in turns)


def _turn(turn: Any, noticed: set[str]) -> Message:
    if not isinstance(turn, Mapping):
        raise TypeError("a turn is not an object")
    foreign = "role" not in turn and "from" in turn
    role, content = (turn["from"], turn["value"]) if foreign else (turn["role"], turn.get("content"))
    if not isinstance(role, str):
        raise TypeError("a role is not a string")
    if foreign:
        noticed.add(SHAREGPT_READ)
        role = SHAREGPT.get(role, role)
    beside = [key for key in NO_CONTENT if turn.get(key)]
    noticed |= {f"Conversations with turns whose {key} is left out" for key in beside}
    if content is None and beside:
        content = ""
    return Message(role, _content(content, noticed))


def _content(content: Any, noticed: set[str]) -> str:
    """Return the text of a content: a string, or a list of parts, of which text parts are kept."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise TypeError("the content of a turn is neither text nor a list of parts")
    texts = []
    for part in content:
        kind = "text" if isinstance(part, str) else str(part.get("type", "text" if "text" in part else "unknown"))
        if kind in TEXT_PARTS:
            texts.append(part if isinstance(part, str) else part["text"])
        else:
            noticed.add(f"Conversations with parts of type {kind}, which are left out")
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("a part of a turn's content has a text that is not a string")
    return "".join(texts)
