"""Tokenizers: long documents are read as far as they are wanted, and no document is cut twice in a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers
from transformers import AutoTokenizer

import bridge
from bridge.corpus import Document, Message
from bridge.errors import ModelError
from bridge.models import TransformersTokenizer, Weights
from bridge.models.cached_tokenizer import OBJECTS, CachedTokenizer
from bridge.pairing import Encoded
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.plan.self_check import DOCUMENTS
from bridge.plugins import Registry
from odd_tokenizers import QWEN, byte_level, sentence_piece, unigram, word_piece

PIECES = st.sampled_from(
    ["the map ", "rotation", " ", "\n\n", "aaaa", "=", "résidu", "流", "🙂", "<bos>", "'s", "  the", "123"]
)
LONG = st.lists(st.tuples(PIECES, st.integers(1, 400)), min_size=1, max_size=12).map(
    lambda runs: "".join(piece * count for piece, count in runs)
)


class Counted:
    """A tokenizer of transformers that counts the characters that it is given."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer, self.characters = tokenizer, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)

    def __call__(self, texts: list[str], **options: Any) -> Any:
        self.characters += sum(map(len, texts))
        return self._tokenizer(texts, **options)


@pytest.fixture(scope="module")
def tokenizers(registry: Registry, tiny_models: Mapping[str, list[Path]]) -> list[TransformersTokenizer]:
    """Byte-level BPE with and without BOS, and the two bundled models' own."""
    folders = [tiny_models["llama"][0], tiny_models["qwen"][0]]
    bundled = [open_runtime().resolve(name).weights for name in ("tiny-qwen", "tiny-gemma")]
    found = [registry.models["llama"].tokenizer(one) for one in (*(Weights(str(path)) for path in folders), *bundled)]
    return [one for one in found if isinstance(one, TransformersTokenizer)]


def whole(tokenizer: Any, text: str, max_tokens: int) -> tuple[list[int], list[int]]:
    """Cut all of a text, as transformers does by itself."""
    found = tokenizer(
        text, truncation=True, max_length=max_tokens, split_special_tokens=True, return_offsets_mapping=True
    )
    return found["input_ids"], [end for _, end in found["offset_mapping"]]


@settings(max_examples=60, deadline=None)
@given(LONG, st.integers(2, 40))
def test_the_beginning_of_a_long_text_is_cut_as_the_whole(
    tokenizers: list[TransformersTokenizer], text: str, max_tokens: int
) -> None:
    for tokenizer in tokenizers:
        (found,) = tokenizer.encode([Document(text, text)], max_tokens)
        ids, ends = whole(tokenizer.tokenizer, text, max_tokens)
        assert found.ids.tolist() == ids
        assert [end for end in found.ends.tolist() if end >= 0] == [
            e for e, kept in zip(ends, found.ends, strict=True) if kept >= 0
        ]


def test_of_a_long_document_no_more_is_read_than_is_wanted(tokenizers: list[TransformersTokenizer]) -> None:
    text = "the map between the models is a rotation of the residual stream. " * 60_000
    conversation = Document(text + "b", "b", (Message("user", text), Message("user", "b")))
    for tokenizer in tokenizers:
        counted = Counted(tokenizer.tokenizer)
        counted.chat_template = "{% for m in messages %}<{{ m.content }}>{% endfor %}"
        tokenizer.tokenizer.chat_template = counted.chat_template
        documents = [Document(text, "a"), Document("short", "short"), conversation]
        encoded = TransformersTokenizer(counted, "counted").encode(documents, 64)
        assert [len(one.ids) for one in encoded][::2] == [64, 64] and encoded[1].ends.max() == 5
        assert counted.characters < 40_000


def test_what_was_cut_is_not_cut_again() -> None:
    asked: list[str] = []

    class Letters(TransformersTokenizer):
        def __init__(self) -> None:
            pass

        def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
            asked.extend(f"{one.text} {max_tokens}" for one in documents)
            return [Encoded(np.arange(len(one.text)), np.arange(len(one.text))) for one in documents]

    a, b, c = (Document(text, text) for text in ("aaaa", "bbbb", "cccc"))
    remembered = CachedTokenizer(Letters(), room=3 * (4 * 16 + OBJECTS))
    first = remembered.encode([a, b, a], 8)
    assert first[0] is first[2] and remembered.encode([b, Document("aaaa", "aaaa")], 8) == [first[1], first[0]]
    assert asked == ["aaaa 8", "bbbb 8"]
    remembered.encode([a], 4)
    for _ in range(2):  # there is no more room
        assert len(remembered.encode([c, b], 8)[0].ids) == 4
    assert asked == ["aaaa 8", "bbbb 8", "aaaa 4", "cccc 8", "cccc 8"]


def test_a_run_cuts_every_document_once_for_each_model(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: Counter[tuple[int, str]] = Counter()
    encode = TransformersTokenizer.encode

    def counted(self: TransformersTokenizer, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        counts.update((self.tokenizer.vocab_size, one.text) for one in documents if len(one.text) > 1)
        return encode(self, documents, max_tokens)

    monkeypatch.setattr(TransformersTokenizer, "encode", counted)
    lens = "exemplars:top=1"
    bridge.run(
        "tiny-qwen", "tiny-gemma", max_documents=150, dictionary="own", features=4, positions=4, encoder="lsa",
        src_verbalizer=lens, dst_verbalizer=lens, washout=["none"],
    )  # fmt: skip
    # Both vocabularies are equally large; the self-check at load reads the first few texts of a corpus for itself.
    again = [key for key, count in counts.items() if count != 2]
    assert len(counts) == 150 and len(again) <= DOCUMENTS and max(counts.values()) <= 4


def ours(tokenizer: Any, vocabulary: int | None = None) -> TransformersTokenizer:
    return TransformersTokenizer(tokenizer, "odd", vocabulary)


def texts(*some: str) -> list[Document]:
    return [Document(text, text) for text in some]


def test_a_word_that_serves_as_padding_is_still_a_word() -> None:
    text = "One. Two... Three."
    plain, padded = ours(byte_level()), ours(byte_level(pad_token="."))
    (one,), (other,) = (tokenizer.encode(texts(text), 100) for tokenizer in (plain, padded))
    assert one.ids.tolist() == other.ids.tolist() and one.ends.tolist() == other.ends.tolist()
    assert (one.ends >= 0).all() and plain.decode(one.ids) == padded.decode(other.ids) == text
    assert padded.remarks(texts(text)) == []


def test_what_stands_for_no_text_still_does_not() -> None:
    appending = ours(byte_level(eos=True, pad_token=".", eos_token="</s>"))
    (one,) = appending.encode(texts("the map."), 100)
    assert one.ids[-1] == 1 and one.ends[-1] == -1 and (one.ends[:-1] >= 0).all()
    assert appending.decode(one.ids) == "the map." and appending.ends() == [1]
    (one,) = ours(word_piece()).encode(texts("the ☃ map"), 100)
    assert one.ends[[0, -1]].tolist() == [-1, -1] and 5 not in one.ends, "what a vocabulary does not know says nothing"


@pytest.mark.parametrize(("make", "option", "value"), [(byte_level, "dropout", 0.5), (unigram, "alpha", 0.1)])
def test_tokens_are_not_drawn_at_random(make: Any, option: str, value: float, tmp_path: Path) -> None:
    tokenizer, text = make(), "the map between the models is a rotation of the residual stream"
    once = tuple(tokenizer(text)["input_ids"])
    setattr(tokenizer.backend_tokenizer.model, option, value)
    if option == "alpha":
        tokenizer.backend_tokenizer.model.nbest_size = 8
    drawn = {tuple(tokenizer(text)["input_ids"]) for _ in range(20)}
    assert len(drawn) > 1, "the tokenizer cuts at random"
    tokenizer.save_pretrained(tmp_path)
    found = ours(AutoTokenizer.from_pretrained(tmp_path) if option == "dropout" else tokenizer)
    ids = {tuple(one.ids.tolist()) for _ in range(20) for one in found.encode(texts(text), 100)}
    assert ids == {once}
    (said,) = found.remarks([])
    assert f"{option} {value:g}" in said and "switched off" in said


def test_chat_marks_in_plain_text_are_counted() -> None:
    tokenizer = byte_level()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    templated = "<|im_start|>user\nhello<|im_end|>"
    found = ours(tokenizer)
    assert found.remarks(texts("plain", "a < b and <b>c</b>")) == []
    (said,) = found.remarks(texts(templated, "plain", f"{templated} again"))
    assert said.endswith(": 2.") and "<|im_start|>" in said and "messages" in said
    injected = Document("x<|im_end|>", "g", (Message("user", "x<|im_end|>"),))
    (said,) = found.remarks([injected, *texts("plain")])
    assert said.endswith(": 1.") and "within a message" in said
    assert CachedTokenizer(found).remarks([injected]) == [said]


def test_ids_that_the_model_has_no_embedding_of_are_refused() -> None:
    tokenizer = byte_level()
    count = len(tokenizer)
    tokenizer.add_tokens(["rotation"])
    assert len(ours(tokenizer, count).encode(texts("the map"), 100)) == 1, "what no text uses does no harm"
    with pytest.raises(ModelError, match=rf"gives the id {count} \('rotation'\) for .*embeddings of {count} tokens"):
        ours(tokenizer, count).encode(texts("the map", "a rotation"), 100)
    assert ours(tokenizer, count + 1).encode(texts("a rotation"), 100)[0].ids[-1] == count


def test_a_few_tokens_of_a_huge_document_are_had_at_once() -> None:
    text = "re\u0301sume\u0301 of the map 🙂 " * 250_000
    assert len(text.encode()) > 4 * 2**20
    for tokenizer in (byte_level(normalizers.NFC(), pattern=QWEN), word_piece(), sentence_piece()):
        counted = Counted(tokenizer)
        (one,) = TransformersTokenizer(counted, "counted").encode(texts(text), 256)
        assert len(one.ids) == 256 and counted.characters < 40_000
