"""From text to ids: the one place where BOS, truncation, special tokens and chat templates are handled."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Document
from bridge.errors import ModelError
from bridge.pairing.align import Encoded

CHARACTERS_PER_TOKEN = 16
"""Of a text, so many characters for each token that is wanted are looked at first; few texts have half as many."""

_MARK = "\ue000"
"""A private-use character, which no template says: stands in for the contents of messages."""


class Tokenizer(ABC):
    """Cuts documents into token ids and says which character each token ends at."""

    @abstractmethod
    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Return one `Encoded` a document, as the model expects its input (BOS included where it wants one).

        Args:
            documents: Texts or conversations.
            max_tokens: Cut after so many tokens, specials included.
        """

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Return the text that token ids stand for, specials left out.

        Args:
            ids: Token ids.
        """


@final
class TransformersTokenizer(Tokenizer):
    """A fast tokenizer of transformers.

    Args:
        tokenizer: A `PreTrainedTokenizerFast`.
        name: What to call the model in errors.

    Raises:
        ModelError: If the tokenizer is a slow one, which knows no offsets.
    """

    def __init__(self, tokenizer: Any, name: str) -> None:
        if not tokenizer.is_fast:
            raise ModelError(
                f"The tokenizer of {name} knows no character offsets.",
                cause="It is a slow (pure Python) tokenizer.",
                remedy="Use a checkpoint that carries a tokenizer.json.",
            )
        self.tokenizer = tokenizer
        # A checkpoint may say "left": the two models of a pair would then keep different ends of a text.
        self.tokenizer.truncation_side = "right"
        self.name = name

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Cut documents into tokens; conversations go through the model's own chat template.

        Returns:
            Ids and the characters that tokens end at, one record a document.

        Raises:
            ModelError: If there is a conversation and the model has no chat template, or one that rewrites contents.
        """
        plain = self._encode([document.text for document in documents if not document.messages], max_tokens, True)
        rendered = [self._render(document) for document in documents if document.messages]
        chats = self._encode([text for text, _ in rendered], max_tokens, False)
        texts = iter(plain)
        conversations = iter(
            Encoded(encoded.ids, _content_ends(encoded.ends, spans))
            for encoded, (_, spans) in zip(chats, rendered, strict=True)
        )
        return [next(conversations if document.messages else texts) for document in documents]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text that token ids stand for, specials left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _encode(self, texts: list[str], max_tokens: int, add_special_tokens: bool) -> list[Encoded]:
        """Encode the beginnings of texts that are far longer than what is wanted of them.

        How a text is cut is decided close by, so a beginning is cut as the whole text is, except near its end. Where
        the tokens that are wanted reach into its second half, or are too few, twice as much is looked at.
        """
        size, found = CHARACTERS_PER_TOKEN * max_tokens, dict[int, Encoded]()
        pending = list(range(len(texts)))
        while pending:
            heads = [texts[i][:size] for i in pending]
            for i, one in zip(pending, self._encode_whole(heads, max_tokens, add_special_tokens), strict=True):
                if len(texts[i]) <= size or (len(one.ids) == max_tokens and one.ends.max() <= size // 2):
                    found[i] = one
            pending = [i for i in pending if i not in found]
            size *= 2
        return [found[i] for i in range(len(texts))]

    def _encode_whole(self, texts: list[str], max_tokens: int, add_special_tokens: bool) -> list[Encoded]:
        batch = self.tokenizer(
            texts,
            add_special_tokens=add_special_tokens,
            truncation=True,
            max_length=max_tokens,
            # In plain text the words "<bos>" are words; in a templated conversation they are the template's.
            split_special_tokens=add_special_tokens,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        specials = np.array(self.tokenizer.all_special_ids, dtype=np.int64)
        encoded = []
        for ids, offsets, mask in zip(
            batch["input_ids"], batch["offset_mapping"], batch["special_tokens_mask"], strict=True
        ):
            row = np.array(ids, dtype=np.int64)
            ends = np.array(offsets, dtype=np.int64).reshape(-1, 2)[:, 1]
            special = np.array(mask, dtype=bool) | np.isin(row, specials)
            encoded.append(Encoded(row, np.where(special, -1, ends)))
        return encoded

    def _render(self, document: Document) -> tuple[str, list[tuple[int, int, int]]]:
        """Return the templated text, and (start, end, offset of the content in `Document.text`) of each message."""
        contents = [message.content for message in document.messages]
        cores = [content.strip() for content in contents]
        text = self._templated(document, contents)
        # Looking for the contents themselves would find the template's own words: a role, the default system prompt.
        marked = [
            content.replace(core, f"{_MARK}{i}{_MARK}", 1) if core else content
            for i, (content, core) in enumerate(zip(contents, cores, strict=True))
        ]
        parts = re.split(f"{_MARK}(\\d+){_MARK}", self._templated(document, marked))
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
                f"The chat template of {self.name} rewrites the messages of {document.text[:60]!r}.",
                remedy="Use a corpus of plain text for this model.",
            )
        return text, list(spans.values())

    def _templated(self, document: Document, contents: Sequence[str]) -> str:
        turns = [
            {"role": message.role, "content": content}
            for message, content in zip(document.messages, contents, strict=True)
        ]
        try:
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        except Exception as error:  # jinja and transformers raise many kinds, all meaning: this template cannot
            raise ModelError(
                f"The conversation {document.text[:60]!r} does not fit the chat template of {self.name} ({error}).",
                cause="The model has no chat template, or one that forbids these roles or their order.",
                remedy="Use an instruct model, or a corpus of plain text.",
            ) from error


def _content_ends(ends: NDArray[np.int64], spans: Sequence[tuple[int, int, int]]) -> NDArray[np.int64]:
    mapped = np.full_like(ends, -1)
    for start, end, offset in spans:
        inside = (ends > start) & (ends <= end)
        mapped[inside] = ends[inside] - start + offset
    return mapped
