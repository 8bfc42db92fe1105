"""Shards: the documents that are collected, stored and paired together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.corpus.documents import Corpus

if TYPE_CHECKING:
    pass


SHARD_CHARACTERS = 131_072
"""Text per shard: about 30k tokens, so a shard stays below 400 MB in bf16 at d_model 5376."""


CHARACTERS_PER_TOKEN = 16
"""Upper bound of characters per token: text beyond `max_tokens` is cut and does not count for a shard's size."""


def shards(corpus: Corpus, max_tokens: int) -> list[range]:
    """Cut a corpus into shards of documents; the shards are the same for every model and tokenizer."""
    return corpus.chunks(SHARD_CHARACTERS, longest=CHARACTERS_PER_TOKEN * max_tokens)
