"""Text to run models on: files, folders, JSON Lines, parquet, hub datasets, standard input, or the bundled English."""

from __future__ import annotations

import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import IO, Any

from bridge.corpus.documents import Corpus, Document, Message
from bridge.corpus.formats import is_json_line, json_lines, json_records, parsed_json, table_records
from bridge.corpus.lines import BOM, Lines, open_text
from bridge.corpus.parquet import parquet_records
from bridge.corpus.records import documents_of
from bridge.errors import CorpusError, UsageError
from bridge.files import expand_user
from bridge.files.limits import need_within
from bridge.hub_errors import refusal_of
from bridge.references import exists

BUNDLED = "english"
HUB = "hub:"
SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")
"""Suffixes that are read from a folder."""

RECORDS = (".ndjson", ".json", ".csv", ".tsv")
"""Suffixes that are also read if a file is named: in folders, such files are often metadata."""

OVERHEAD = 500
"""Bytes of a document in memory beside its text."""

PROSE = (".txt", ".md", ".markdown", ".text", ".rst", ".log", "")
NO_PROSE = (".html", ".htm", ".xml", ".yaml", ".yml", ".toml", ".ipynb", ".rtf", ".gz", ".bz2", ".xz", ".zst", ".zip")


def load_corpus(
    source: str,
    stdin: IO[str] | None = None,
    max_documents: int | None = None,
    named: Mapping[str, str] | None = None,
) -> Corpus:
    """Read a corpus.

    Args:
        source: `english` (bundled), a file or folder of .txt, .md, .jsonl or .parquet, a file of .json, .csv or .tsv,
            `-` (standard input: JSON Lines or plain text), or `hub:user/dataset[:split]` (needs the extra `datasets`).
            Each paragraph of a text file is one document; records have `text`, or `messages` of `role` and `content`,
            and optionally `group` and `topic`. A name in `named` stands for its path.
        stdin: The stream for `-`.
        max_documents: Maximal number of documents, from the first on.
        named: Paths of the corpora of plugins, by name.

    Returns:
        The documents; `remarks` describes content that was left out or changed when read.

    Raises:
        CorpusError: If the corpus is missing, empty, binary, not UTF-8, or not of the form above.
    """
    documents: dict[tuple[str, tuple[Message, ...]], Document] = {}
    remarks: Counter[str] = Counter()
    count = kept = 0
    for document in _read((named or {}).get(source, source), stdin, remarks):
        count += 1
        # Duplicates ignore the group: otherwise a text in two files could be both fitted on and held out.
        if documents.setdefault((document.text, document.messages), document) is document:
            # The turns of a conversation are kept beside its text.
            kept += OVERHEAD + sys.getsizeof(document.text) * (2 if document.messages else 1)
            need_within("corpus", kept, f"The text of {source}", at_least=True)
        if max_documents is not None and len(documents) >= max_documents:
            break
    if not documents:
        raise CorpusError(f"The corpus {source} has no text.", remedy="Give at least a few hundred paragraphs.")
    said = tuple(f"{what}: {number}." for what, number in remarks.items())
    return Corpus(source, tuple(documents.values()), count - len(documents), said)


def _read(source: str, stdin: IO[str] | None, remarks: Counter[str]) -> Iterator[Document]:
    if source == BUNDLED:
        text = resources.files("bridge").joinpath("data/english.jsonl").read_text(encoding="utf-8")
        return documents_of(json_lines(Lines(io.StringIO(text), source)), source, remarks)
    if source == "-":
        if stdin is None:
            raise UsageError("Standard input is not available, so the corpus - cannot be read.")
        return _stream(stdin, remarks)
    if source.startswith(HUB):
        return _hub(source.removeprefix(HUB), remarks)
    path = expand_user(source)
    if exists(str(path)):
        return _folder(path, remarks) if path.is_dir() else _file(path, remarks)
    raise CorpusError(
        f"There is no corpus {source}.",
        cause="No file or folder has this name.",
        remedy=f"Give a path, - for standard input, {HUB}user/dataset, or {BUNDLED} for the bundled corpus.",
    )


def _folder(path: Path, remarks: Counter[str]) -> Iterator[Document]:
    shown = [file for file in path.rglob("*") if file.is_file() and not _hidden(file.relative_to(path))]
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise CorpusError(f"The folder {path} holds no {', '.join(SUFFIXES)} file.")
    others = sorted({file.suffix or file.name for file in shown if file.suffix not in SUFFIXES})
    if others:
        few = ", ".join(others[:4]) + (", ..." if len(others) > 4 else "")
        left_out = sum(file.suffix not in SUFFIXES for file in shown)
        remarks[f"Files of the folder left out because of their suffix ({few}), not {', '.join(SUFFIXES)}"] = left_out
    for number, file in enumerate(files, 1):
        # The absolute path would change the corpus when the folder is moved.
        yield from _file(file, remarks, group=f"file {number}")


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _file(path: Path, remarks: Counter[str], group: str = "") -> Iterator[Document]:
    name, suffix = str(path), path.suffix.lower()
    if suffix == ".parquet":
        yield from documents_of(parquet_records(path, _extra("pyarrow.parquet", "parquet")), name, remarks)
        return
    if suffix in NO_PROSE:
        raise CorpusError(
            f"{path} is a {suffix} file, not plain text: its markup would be read as prose.",
            remedy=f"Unpack or convert the file to one of {', '.join((*SUFFIXES, *RECORDS))}.",
        )
    with open_text(path) as opened:
        lines = Lines(opened, name)
        if suffix in (".jsonl", ".ndjson"):
            yield from documents_of(json_lines(lines), name, remarks)
        elif suffix == ".json":
            yield from documents_of(json_records(_joined(lines), name), name, remarks)
        elif suffix in (".csv", ".tsv"):
            yield from documents_of(table_records(lines, "," if suffix == ".csv" else "\t"), name, remarks)
        elif is_json_line(lines.peek()):
            raise CorpusError(f"{path} has a text suffix but holds JSON.", remedy="Rename the file to .jsonl or .json.")
        else:
            if suffix not in PROSE:
                remarks[f"Files with the unknown suffix {suffix} read as prose"] += 1
            yield from _paragraphs(lines, group)


def read_text(path: Path) -> str:
    """Read a whole file of text in UTF-8, with or without a byte order mark.

    Raises:
        CorpusError: If the file cannot be read, is not UTF-8 or is binary.
        BridgeError: If the file exceeds the limit `document`.
    """
    with open_text(path) as opened:
        return _joined(Lines(opened, str(path)))


def _joined(lines: Lines) -> str:
    """Return all lines as one text, within the limit of a document."""
    parts, size = [], 0
    for line in lines:
        lines.end_record()
        parts.append(line)
        size += len(line)
        need_within("document", size, lines.name, at_least=True)
    return "".join(parts)


def _stream(stdin: IO[str], remarks: Counter[str]) -> Iterator[Document]:
    lines = Lines(stdin, "standard input")
    first = lines.peek().lstrip(BOM).lstrip()
    if first.startswith("{"):
        return documents_of(json_lines(lines), lines.name, remarks)
    if first.startswith("["):
        text = _joined(lines)
        if isinstance(parsed_json(text), list):
            return documents_of(json_records(text, lines.name), lines.name, remarks)
        lines = Lines(io.StringIO(text), lines.name)  # prose may also begin with a bracket
    return _paragraphs(lines, "")


def _paragraphs(lines: Lines, group: str) -> Iterator[Document]:
    block: list[str] = []
    for line in chain(lines, [""]):
        # Joining files leaves byte order marks at the start of lines.
        if words := " ".join(line.removeprefix(BOM).split()):
            block.append(words)
            continue
        if block:
            text = " ".join(block)
            yield Document(text, group or text)
        block = []
        lines.end_record()


def _hub(name: str, remarks: Counter[str]) -> Iterator[Document]:
    repository, _, split = name.partition(":")
    load = _extra("datasets", "datasets").load_dataset
    try:
        # With streaming, every step requests data from the hub and can fail.
        yield from documents_of(load(repository, split=split or "train", streaming=True), name, remarks)
    except CorpusError:
        raise
    except Exception as error:  # datasets raises many error types, including those of its dependencies
        if (refused := refusal_of(repository, "", error, "dataset")) and refused.remedy:
            raise CorpusError(refused.what, cause=refused.cause, remedy=refused.remedy) from error
        raise CorpusError(
            f"The dataset {repository} cannot be read ({type(error).__name__}: {error}).",
            remedy="Check its name and split (hub:user/dataset:split), HF_TOKEN, and that HF_HUB_OFFLINE is not set.",
        ) from error


def _extra(module: str, extra: str) -> Any:
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CorpusError(
            f"Reading this corpus needs {module.partition('.')[0]}, which is not installed.",
            remedy=f"Run `pip install 'residual-bridge[{extra}]'`.",
        ) from error
