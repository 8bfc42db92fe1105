"""What of a corpus is read otherwise than it stands: told once, and kept with the result."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.corpus.documents import Corpus
from bridge.models import Tokenizer
from bridge.pipeline.plan.runtime import Runtime


def remarks_of(corpus: Corpus, tokenizers: Sequence[Tokenizer], runtime: Runtime) -> tuple[str, ...]:
    """Collect what the corpus and the models' tokenizers have to say of the texts, and tell the user.

    Args:
        corpus: The texts.
        tokenizers: Of the models that read them.
        runtime: Who is told.

    Returns:
        Sentences with counts, none twice.
    """
    told = [str(remark) for tokenizer in tokenizers for remark in tokenizer.remarks(corpus.documents)]
    said = tuple(dict.fromkeys([*corpus.remarks, *told]))
    for remark in said:
        runtime.progress.note(remark)
    return said
