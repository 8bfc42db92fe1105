"""A law over all scripts: what a token has read is the text up to its end, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from bridge.corpus import Document, Message
from bridge.models import TransformersTokenizer
from bridge.pairing import Encoded, pair_document
from odd_tokenizers import QWEN, byte_level, sentence_piece, unigram, word_piece

TOKENIZERS: dict[str, Any] = {
    "plain": byte_level(),
    "trimmed": byte_level(trim=True),
    "nfc": byte_level(normalizers.NFC()),
    "qwen": byte_level(normalizers.NFC(), pattern=QWEN),
    "nfd": byte_level(normalizers.NFD()),
    "nfkc": byte_level(normalizers.NFKC()),
    "appends eos": byte_level(normalizers.NFC(), eos=True),
    "word piece": word_piece(),
    "sentence piece": sentence_piece(),
    "unigram": unigram(),
}
HARD = (
    *("e\u0301", "a\u0323\u0302", "a\u0327\u0301", "x\u0301\u0323", "\u1112\u1161\u11ab", "\u1100\u1161", "ｶﾞ"),
    *("か\u3099", "क\u093c", "é", "ﬁ", "½", "🙂", "日本", " ", "\n", "  ", "the map", "ש\u05c1\u05b8", "ท\u0e35\u0e48"),
)
MARKS = "".join(map(chr, range(0x300, 0x345))) + "aeiou\u11a8\u1161한"
TEXTS = st.lists(
    st.sampled_from(HARD)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=3)
    | st.text(st.sampled_from(MARKS), max_size=4),
    max_size=8,
).map("".join)


def encode(kind: str, text: str, max_tokens: int = 1000) -> Encoded:
    (found,) = TransformersTokenizer(TOKENIZERS[kind], kind).encode([Document(text, text)], max_tokens)
    return found


@settings(derandomize=True, deadline=None, max_examples=150)
@given(TEXTS, st.integers(3, 12))
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_the_text_up_to_a_tokens_end_alone_gives_the_same_tokens(kind: str, text: str, max_tokens: int) -> None:
    for limit in (1000, max_tokens):
        found = encode(kind, text, limit)
        ends = found.ends[found.kept]
        assert (np.diff(ends) >= 0).all() and (ends <= len(text)).all()
        for row in np.flatnonzero(np.diff(ends, append=-1) != 0).tolist():
            if text[: ends[row]][-1:].isspace():
                # No tokenizer allows it here: how many spaces are one token depends on whether a word follows.
                continue
            alone = encode(kind, text[: ends[row]])
            upto = found.kept[row] + 1
            assert alone.ids[:upto].tolist() == found.ids[:upto].tolist() and len(alone.kept) == row + 1


@pytest.mark.parametrize(
    ("kind", "text", "ends"),
    [
        ("plain", "e\u0301", {1, 2}),
        ("nfc", "e\u0301", {2}),
        ("nfc", "e\u0301e\u0301 x", {2, 4, 5, 6}),
        # One letter of a, acute and cedilla: the token of the letter has read the accent that stands last.
        ("nfc", "a\u0327\u0301", {3}),
        ("nfc", "\u1100\u1161\u11a8", {3}),
        ("word piece", "e\u0301", {2}),
        ("plain", "12\n    12", {2, 6, 9}),
        ("trimmed", "12\n    12", {2, 6, 9}),
        # Neither letter is in the vocabulary: a mark that stands for no text, and three bytes for each.
        ("sentence piece", "日本", {1, 2}),
    ],
)
def test_written_ends(kind: str, text: str, ends: set[int]) -> None:
    found = encode(kind, text)
    assert set(found.ends[found.kept].tolist()) == ends


def test_decomposed_text_pairs_where_both_have_read_the_same() -> None:
    text = "re\u0301sume\u0301 nai\u0308ve"
    src, dst = encode("nfc", text), encode("plain", text)
    pairs = pair_document(src, dst, 0)
    left, right = src.ends[src.kept], dst.ends[dst.kept]
    read = [(text[: left[i]], text[: right[j]]) for i, j in zip(pairs.src, pairs.dst, strict=True)]
    assert read and all(one == other for one, other in read)
    # Of the accented letters, whose accent both have read: none ends at the letter.
    assert not {1 + text.index("e\u0301"), text.index("\u0308")} & set(src.ends.tolist())


def test_a_character_that_is_cut_is_nobodys() -> None:
    text = "the 🙂🙂🙂"
    whole = encode("plain", text)
    for limit in range(1, len(whole.ids)):
        found = encode("plain", text, limit)
        assert len(found.ids) == limit
        # Four bytes a face: what stops within one has read no text whole.
        complete = whole.ends[:limit][whole.ends[:limit] != whole.ends[1 : limit + 1]]
        assert set(found.ends[found.kept].tolist()) == set(complete.tolist())


def test_conversations_end_where_their_accents_do() -> None:
    tokenizer = byte_level(normalizers.NFC(), pattern=QWEN)
    tokenizer.chat_template = "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    contents = "cafe\u0301 ole\u0301", "re\u0301sume\u0301"
    messages = tuple(Message(role, text) for role, text in zip(("user", "assistant"), contents, strict=True))
    (found,) = TransformersTokenizer(tokenizer, "chat").encode([Document("".join(contents), "g", messages)], 1000)
    ends = set(found.ends[found.kept].tolist())
    assert {len(contents[0]), len("".join(contents))} <= ends
    assert not ends & {index for index, c in enumerate("".join(contents)) if c == "\u0301"}
