"""From text to ids: the one place where BOS, truncation and special tokens are handled."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Document
from bridge.errors import ModelError
from bridge.models.conversations import content_ends, render
from bridge.models.offsets import text_ends
from bridge.pairing.align import Encoded

CHARACTERS_PER_TOKEN = 16
"""Of a text, so many characters for each token that is wanted are looked at first; few texts have half as many."""


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
        """Return the text of token ids, without special tokens.

        Args:
            ids: Token ids.
        """

    def remarks(self, documents: Sequence[Document]) -> list[str]:
        """Say what of these documents is read otherwise than their author may have meant, with counts.

        Args:
            documents: Texts or conversations.

        Returns:
            Sentences for people, which results carry; none by default.
        """
        return []


@final
class TransformersTokenizer(Tokenizer):
    """A fast tokenizer of transformers.

    Settings that make ids or ends depend on more than the text are switched off: sampling (BPE dropout), and offsets
    that exclude white space.

    Args:
        tokenizer: A `PreTrainedTokenizerFast`.
        name: Name of the model in errors.
        vocabulary: Number of tokens with an embedding in the model; None if unknown.

    Raises:
        ModelError: If the tokenizer is a slow one, which has no offsets.
    """

    def __init__(self, tokenizer: Any, name: str, vocabulary: int | None = None) -> None:
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
        self.vocabulary = vocabulary
        self._sampling = _stop_sampling(tokenizer.backend_tokenizer.model)
        _keep_white_space(tokenizer.backend_tokenizer)

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Cut documents into tokens; conversations go through the model's own chat template.

        Returns:
            Ids and the end positions of tokens in characters, one record per document.

        Raises:
            ModelError: If there is a conversation and the model has no chat template, or one that rewrites contents; if
                the tokenizer gives an id that the model has no embedding of.
        """
        plain = self._encode([document.text for document in documents if not document.messages], max_tokens, True)
        rendered = [render(self.tokenizer, self.name, document) for document in documents if document.messages]
        chats = self._encode([text for text, _ in rendered], max_tokens, False)
        texts = iter(plain)
        conversations = iter(
            Encoded(encoded.ids, content_ends(encoded.ends, spans))
            for encoded, (_, spans) in zip(chats, rendered, strict=True)
        )
        return [next(conversations if document.messages else texts) for document in documents]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of token ids, without special tokens."""
        if not self._words:
            return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))
        kept = self.without_special(ids)
        return str(self.tokenizer.decode(kept, skip_special_tokens=False))

    def prompt(self, text: str) -> list[int]:
        """Return the ids of a text that a model continues or that is read at its end.

        Special tokens written in the text become these tokens, as a prompt's author intends. Tokens that the tokenizer
        adds before a text (BOS) are kept; tokens that it adds after a text (EOS) are removed, because they end it.

        Args:
            text: The text.

        Returns:
            The ids; empty for an empty text.
        """
        encoding = self.tokenizer(text).encodings[0]
        return list(encoding.ids[: _last_of_text(encoding) + 1])

    def ends(self) -> list[int]:
        """Return the ids that end a text: EOS, and the tokens that the tokenizer adds after a text."""
        encoding = self.tokenizer("a").encodings[0]
        own, last = self.tokenizer.eos_token_id, _last_of_text(encoding)
        appended = encoding.ids[last + 1 :] if last >= 0 else []
        return list(dict.fromkeys([*([] if own is None else [own]), *appended]))

    def remarks(self, documents: Sequence[Document]) -> list[str]:
        """Say whether the tokenizer cuts at random, and how many documents write its special tokens out."""
        said = []
        if self._sampling:
            said.append(
                f"The tokenizer of {self.name} is set to cut words at random ({self._sampling}), as for training: that "
                "is switched off, and a text has the same tokens each time."
            )
        ways = {
            False: "in plain text they are read as the characters that they are written with, not as tokens; "
            "conversations belong into `messages`, which go through the chat template",
            True: "within a message they are read as the tokens themselves, as the chat template's own are",
        }
        for chats, way in ways.items():
            texts = (document.text for document in documents if bool(document.messages) == chats)
            found = [match[0] for match in map(self._written_out.search, texts) if match]
            if found:
                named = ", ".join(sorted(set(found))[:3])
                said.append(f"Documents that hold special tokens of {self.name} ({named}; {way}): {len(found)}.")
        return said

    def without_special(self, ids: Sequence[int], kept: Collection[str] = ()) -> list[int]:
        """Return token ids without those of special tokens that stand for no text.

        Args:
            ids: Token ids.
            kept: Special tokens that stay, as they are written.
        """
        left_out = {one for text, one in self._special.items() if text not in kept}
        return [one for one in ids if one not in left_out]

    @cached_property
    def _words(self) -> frozenset[int]:
        """Ids of special tokens that ordinary text is cut into, such as a full stop that serves as padding."""
        ids = [one for one in self.tokenizer.all_special_ids if one != self.tokenizer.unk_token_id]
        added = set(self.tokenizer("")["input_ids"])
        texts = self.tokenizer.convert_ids_to_tokens(ids)
        cut = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"] if texts else []
        return frozenset(one for one, found in zip(ids, cut, strict=True) if list(found) == [one] and one not in added)

    @cached_property
    def _controls(self) -> NDArray[np.int64]:
        """Ids of special tokens that stand for no text."""
        return np.array([one for one in self.tokenizer.all_special_ids if one not in self._words], dtype=np.int64)

    @cached_property
    def _names(self) -> dict[str, int]:
        """Special tokens that are no words and have more than one character, by how they are written."""
        return {text: one for text, one in self._special.items() if len(text) > 1}

    @cached_property
    def _special(self) -> dict[str, int]:
        """Special tokens that are no words, by how they are written."""
        found = {token.content: one for one, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        return {text: one for text, one in found.items() if one not in self._words}

    @cached_property
    def _written_out(self) -> re.Pattern[str]:
        names = sorted(self._names, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, names)) or r"(?!)")

    def _encode(self, texts: list[str], max_tokens: int, add_special_tokens: bool) -> list[Encoded]:
        """Encode only the beginnings of texts that are much longer than the requested tokens.

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
        )
        return [self._encoded(text, one) for text, one in zip(texts, batch.encodings or [], strict=True)]

    def _encoded(self, text: str, encoding: Any) -> Encoded:
        ids = np.array(encoding.ids, dtype=np.int64)
        self._need_embeddings(ids, text)
        ends = np.full(len(ids), -1, dtype=np.int64)
        of_text = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
        if len(of_text):
            offsets = np.array(encoding.offsets, dtype=np.int64)[of_text]
            normaliser = self.tokenizer.backend_tokenizer.normalizer
            normalise = normaliser.normalize_str if normaliser is not None else None
            ends[of_text] = text_ends(text, offsets, _next_start(encoding, len(text)), normalise)
        return Encoded(ids, np.where(np.isin(ids, self._controls), -1, ends))

    def _need_embeddings(self, ids: NDArray[np.int64], text: str) -> None:
        if self.vocabulary is None or ids.max(initial=0) < self.vocabulary:
            return
        first = int(ids[ids >= self.vocabulary][0])
        raise ModelError(
            f"The tokenizer of {self.name} gives the id {first} ({self.tokenizer.convert_ids_to_tokens(first)!r}) for "
            f"the text {text[:40]!r}, and the model has embeddings of {self.vocabulary} tokens.",
            cause="Tokens were added to the tokenizer and the model was not resized, or it is another model's.",
            remedy="Restore the model's own tokenizer files, or resize the model's embeddings.",
        )


def _last_of_text(encoding: Any) -> int:
    """Return the index of the last token that the tokenizer did not add; -1 if it added all tokens."""
    return int(max(np.flatnonzero(np.array(encoding.special_tokens_mask) == 0), default=-1))


def _next_start(encoding: Any, length: int) -> int:
    """Return the start of the first token that was cut off, or the text's length."""
    for rest in encoding.overflowing[:1]:
        for (start, _), special in zip(rest.offsets, rest.special_tokens_mask, strict=True):
            if not special:
                return int(start)
    return length


def _stop_sampling(model: Any) -> str:
    """Make a tokenizer's model cut a text in one way only; return the changed setting, or an empty text."""
    said = []
    # Of byte-pair encoding (arXiv 1910.13267), and of unigram models (arXiv 1804.10959).
    for option in ("dropout", "alpha", "nbest_size"):
        value = getattr(model, option, None)
        if value:
            setattr(model, option, None)
            said.append(f"{option} {value:g}")
    return ", ".join(said)


def _keep_white_space(backend: Any) -> None:
    """Have a tokenizer say that a token ends where it does, white space at its end included."""
    processor = backend.post_processor
    state = json.loads(processor.__getstate__()) if processor is not None else {}
    if _untrimmed(state):
        processor.__setstate__(json.dumps(state).encode())
        backend.post_processor = processor


def _untrimmed(state: dict[str, Any]) -> bool:
    """Switch `trim_offsets` off in the state of a post-processor and its parts; return whether any was on."""
    trims = bool(state.get("trim_offsets"))
    if trims:
        state["trim_offsets"] = False
    return any([trims, *map(_untrimmed, state.get("processors", []))])


def ends_of(module: Any, tokenizer: Tokenizer) -> list[int]:
    """Return the ids that end a text: the checkpoint's own, and its tokenizer's.

    Raises:
        ModelError: If the checkpoint's own are no numbers.
    """
    given = getattr(getattr(module, "generation_config", None), "eos_token_id", None)
    own = tokenizer.ends() if isinstance(tokenizer, TransformersTokenizer) else []
    found = [token for token in [*(given if isinstance(given, list) else [given]), *own] if token is not None]
    if not all(isinstance(token, int) for token in found):
        raise ModelError(
            f"The generation_config.json of {type(module).__name__} says eos_token_id {given!s:.80}, not a number.",
            remedy="Fetch or copy the whole checkpoint again.",
        )
    return found
