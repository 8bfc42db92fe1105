"""Documents, conversations, and a corpus of them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

from bridge.store import canonical_json


@final
@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: The speaker, as `user` or `assistant`.
        content: The text.
    """

    role: str
    content: str


@final
@dataclass(frozen=True)
class Document:
    """One text, or one conversation.

    Attributes:
        text: The text; for a conversation, the contents of its messages one after the other.
        group: Documents of one group (the paragraphs of one file) fall on the same side of every split.
        messages: The conversation, or empty.
        topic: The topic of the text, if the corpus has topics.
    """

    text: str
    group: str
    messages: tuple[Message, ...] = ()
    topic: str = ""


@final
@dataclass(frozen=True)
class Corpus:
    """Documents in a fixed order, without exact duplicates.

    Attributes:
        name: The user's name for the corpus.
        documents: The documents.
        duplicates: Number of exact duplicates that were left out.
        remarks: Sentences about content that was left out or changed when read, with counts.
    """

    name: str
    documents: tuple[Document, ...]
    duplicates: int = 0
    remarks: tuple[str, ...] = ()

    @cached_property
    def identity(self) -> str:
        """SHA-256 over all documents: equal corpora share artifacts, independent of file names."""
        digest = hashlib.sha256()
        for document in self.documents:
            digest.update(canonical_json(_record(document)).encode())
        return digest.hexdigest()

    def chunks(self, characters: int, longest: int | None = None) -> list[range]:
        """Cut into runs of documents of about `characters` characters each.

        Args:
            characters: Size of a run.
            longest: Maximal number of characters counted per document, because the rest will be cut off.
        """
        runs, start, size = [], 0, 0
        for index, document in enumerate(self.documents):
            size += min(len(document.text), longest or len(document.text))
            if size >= characters:
                runs.append(range(start, index + 1))
                start, size = index + 1, 0
        if start < len(self.documents):
            runs.append(range(start, len(self.documents)))
        return runs

    def to_jsonl(self) -> str:
        """Return the corpus as JSON Lines that `load_corpus` reads back to an equal corpus."""
        return "".join(canonical_json(_record(document)) + "\n" for document in self.documents)


def _record(document: Document) -> dict[str, Any]:
    if document.messages:
        turns = [{"role": message.role, "content": message.content} for message in document.messages]
        record = {"messages": turns, "group": document.group}
    else:
        record = {"text": document.text, "group": document.group}
    return record | {"topic": document.topic} if document.topic else record
