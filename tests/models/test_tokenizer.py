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

import bridge
from bridge.corpus import Document, Message
from bridge.models import TransformersTokenizer, Weights
from bridge.models.cached_tokenizer import CachedTokenizer
from bridge.pairing import Encoded
from bridge.pipeline.plan.runtime import open_runtime
from bridge.plugins import Registry

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
    remembered = CachedTokenizer(Letters(), tokens=9)
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
    # Both models' vocabularies are equally large.
    assert len(counts) == 150 and set(counts.values()) == {2}
