"""Text to run models on: files, folders, JSON Lines, parquet, hub datasets, standard input, or the bundled English."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import IO, Any

from bridge.corpus.documents import Corpus, Document, Message
from bridge.errors import CorpusError, UsageError
from bridge.references import exists

BUNDLED = "english"
HUB = "hub:"
SUFFIXES = (".txt", ".md", ".jsonl", ".parquet")


def load_corpus(
    source: str,
    stdin: IO[str] | None = None,
    max_documents: int | None = None,
    named: Mapping[str, str] | None = None,
) -> Corpus:
    """Read a corpus.

    Args:
        source: `english` (bundled), a file or folder of .txt, .md, .jsonl or .parquet, `-` (standard input: JSON Lines
            or plain text), or `hub:user/dataset[:split]` (needs the extra `datasets`). A text file is one document a
            paragraph; records carry `text`, or `messages` of `role` and `content`, and optionally `group` and `topic`.
            A name in `named` means its path.
        stdin: Where `-` reads from.
        max_documents: Keep at most the first so many.
        named: Paths of the corpora that plugins bring, by name.

    Raises:
        CorpusError: If it is missing, empty, binary, not UTF-8, or not of the form above.
    """
    documents: dict[tuple[str, tuple[Message, ...]], Document] = {}
    count = 0
    for document in _read((named or {}).get(source, source), stdin):
        count += 1
        # The group is not looked at: a text in two files would otherwise be fitted on and held out.
        documents.setdefault((document.text, document.messages), document)
        if max_documents is not None and len(documents) >= max_documents:
            break
    if not documents:
        raise CorpusError(f"The corpus {source} holds no text.", remedy="Give it at least a few hundred paragraphs.")
    return Corpus(source, tuple(documents.values()), count - len(documents))


def _read(source: str, stdin: IO[str] | None) -> Iterator[Document]:
    if source == BUNDLED:
        text = resources.files("bridge").joinpath("data/english.jsonl").read_text(encoding="utf-8")
        return _jsonl(io.StringIO(text), source)
    if source == "-":
        if stdin is None:
            raise UsageError("There is no standard input to read a corpus from.")
        return _stream(stdin)
    if source.startswith(HUB):
        return _hub(source.removeprefix(HUB))
    path = Path(source).expanduser()
    if exists(str(path)):
        return _folder(path) if path.is_dir() else _file(path)
    raise CorpusError(
        f"There is no corpus {source}.",
        cause="It is not a file or folder here.",
        remedy=f"Give a path, - for standard input, {HUB}user/dataset, or {BUNDLED} for the bundled corpus.",
    )


def _folder(path: Path) -> Iterator[Document]:
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise CorpusError(f"The folder {path} holds no {', '.join(SUFFIXES)} file.")
    for number, file in enumerate(files, 1):
        # Not the file's path, which would make the corpus another one wherever the folder is moved.
        yield from _file(file, group=f"file {number}")


def _file(path: Path, group: str = "") -> Iterator[Document]:
    if path.suffix == ".parquet":
        yield from _records(_parquet(path), str(path))
        return
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path} is not UTF-8 text (byte {error.start}).",
            cause="It is a binary file or has another encoding.",
            remedy="Convert it, for example with `iconv -f latin1 -t utf-8`.",
        ) from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}).") from error
    _refuse_binary(text, str(path))
    if path.suffix == ".jsonl":
        yield from _jsonl(io.StringIO(text), str(path))
    else:
        yield from _paragraphs(text, group)


def _stream(stdin: IO[str]) -> Iterator[Document]:
    try:
        text = stdin.read().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise CorpusError("Standard input is not UTF-8 text.") from error
    _refuse_binary(text, "standard input")
    if text.lstrip().startswith("{"):
        return _jsonl(io.StringIO(text), "standard input")
    return _paragraphs(text, "")


def _refuse_binary(text: str, name: str) -> None:
    if "\0" in text:
        raise CorpusError(f"{name} is binary, not text.", remedy=f"Give one of {', '.join(SUFFIXES)}.")


def _paragraphs(text: str, group: str) -> Iterator[Document]:
    blocks = (" ".join(block.split()) for block in re.split(r"\n\s*\n", text.replace("\r\n", "\n")))
    for block in blocks:
        if block:
            yield Document(block, group or block)


def _jsonl(lines: Iterable[str], name: str) -> Iterator[Document]:
    def parsed() -> Iterator[Any]:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise CorpusError(f"Line {number} of {name} is not JSON ({error}).") from error

    return _records(parsed(), name)


def _records(records: Iterable[Any], name: str) -> Iterator[Document]:
    for number, record in enumerate(records, 1):
        try:
            if "messages" in record:
                messages = tuple(Message(turn["role"], turn["content"]) for turn in record["messages"])
                text = "".join(message.content for message in messages)
            else:
                messages, text = (), record["text"]
            if not isinstance(text, str):
                raise TypeError
            given = record.get("group")
            group = text if given is None or given == "" else str(given)
            topic = str(record.get("topic") or "")
            # JSON can hold halves of surrogate pairs, which are no characters: nothing further on can encode them.
            "".join((text, group, topic, *(message.role for message in messages))).encode()
        except UnicodeEncodeError as error:
            raise CorpusError(f"Record {number} of {name} is not valid Unicode ({error.reason}).") from error
        except (KeyError, TypeError, AttributeError) as error:
            raise CorpusError(
                f"Record {number} of {name} has neither a text nor messages.",
                remedy='Each record must be {"text": "..."} or {"messages": [{"role": "...", "content": "..."}]}.',
            ) from error
        if text.strip():
            yield Document(text, group, messages, topic)


def _parquet(path: Path) -> Iterator[Any]:
    read: Callable[[Path], Any] = _extra("pyarrow.parquet", "parquet").ParquetFile
    try:
        for batch in read(path).iter_batches():
            yield from batch.to_pylist()
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} is not a readable parquet file ({error}).") from error


def _hub(name: str) -> Iterator[Document]:
    repository, _, split = name.partition(":")
    load = _extra("datasets", "datasets").load_dataset
    try:
        # Streaming: the hub is asked for more, and can fail, at every step.
        yield from _records(load(repository, split=split or "train", streaming=True), name)
    except CorpusError:
        raise
    except Exception as error:  # datasets raises many kinds, of its own and of the libraries beneath
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
