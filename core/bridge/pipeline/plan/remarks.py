"""Remarks about texts that are changed or left out when read: shown once, and stored with the result."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.corpus.documents import Corpus
from bridge.models import Tokenizer
from bridge.pipeline.plan.runtime import Runtime


def remarks_of(corpus: Corpus, tokenizers: Sequence[Tokenizer], runtime: Runtime) -> tuple[str, ...]:
    """Collect the remarks of the corpus and the models' tokenizers, and show them to the user.

    Args:
        corpus: The texts.
        tokenizers: Tokenizers of the models.
        runtime: Receives the notes.

    Returns:
        Sentences with counts, without duplicates.
    """
    told = [str(remark) for tokenizer in tokenizers for remark in tokenizer.remarks(corpus.documents)]
    said = tuple(dict.fromkeys([*corpus.remarks, *told]))
    for remark in said:
        runtime.progress.note(remark)
    return said
