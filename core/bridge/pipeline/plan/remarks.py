"""Remarks about texts that are changed or left out when read: shown once, and stored with the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import final

from pydantic import BaseModel, ConfigDict

from bridge.corpus.documents import Corpus
from bridge.errors import CorruptArtifactError
from bridge.files import write_bytes, writing
from bridge.files.sealed import read_sealed, write_sealed
from bridge.models import Tokenizer
from bridge.pipeline.plan.runtime import Runtime


@final
class Original(BaseModel):
    """What was noticed when a corpus was read whose copy says it no longer; `corpus` is the copy's identity."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    corpus: str
    remarks: tuple[str, ...] = ()
    duplicates: int = 0


def write_copy(corpus: Corpus, path: Path) -> None:
    """Write a corpus as JSON Lines, and beside it what was noticed when it was read: a copy is clean.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    write_bytes(path, corpus.to_jsonl().encode())
    if corpus.remarks or corpus.duplicates:
        noticed = Original(corpus=corpus.identity, remarks=corpus.remarks, duplicates=corpus.duplicates)
        write_sealed(_beside(path), noticed.model_dump())
    else:
        with writing(path):
            _beside(path).unlink(missing_ok=True)


def with_original(corpus: Corpus) -> Corpus:
    """Return a corpus with what was noticed when the one was read that it is a copy of; itself where it is none.

    Raises:
        CorruptArtifactError: If that is damaged, or of another corpus.
    """
    path = _beside(Path(corpus.name))
    if path.suffix != ".json" or not path.is_file():
        return corpus
    remedy = f"Restore it, or delete it: it holds remarks about the text that {corpus.name} was copied from."
    there = read_sealed(path, Original, remedy)
    if there.corpus != corpus.identity:
        raise CorruptArtifactError(f"{path} belongs to another corpus than {corpus.name}.", remedy=remedy)
    remarks = dict.fromkeys([*there.remarks, *corpus.remarks])
    return replace(corpus, remarks=tuple(remarks), duplicates=there.duplicates + corpus.duplicates)


def _beside(path: Path) -> Path:
    return path.with_suffix(".noticed.json") if path.suffix == ".jsonl" else path


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
