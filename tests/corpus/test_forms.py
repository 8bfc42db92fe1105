"""The forms in which people keep texts: each is read as what it is, with what was left out counted, or refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from bridge.corpus import Message, load_corpus
from bridge.errors import CorpusError

TEXTS = ["First line.", 'Second, with "quotes"\nand a break.', "Third\u2028of\x85three\u2029parts."]


def written(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records), encoding="utf-8")
    return str(path)


def test_tables_and_json_hold_the_texts_that_json_lines_do(tmp_path: Path) -> None:
    records = [{"text": text, "id": 3} for text in TEXTS]
    lines = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records)
    quoted = ['"' + text.replace('"', '""') + '"' for text in TEXTS]
    forms = {
        "a.jsonl": lines,
        "A.JSONL": lines,
        "b.ndjson": "\ufeff" + lines.replace("\n", "\n\ufeff"),
        "c.json": json.dumps(records, indent=1),
        "d.json": lines,
        "e.csv": "id,text\n" + "".join(f"3,{text}\n" for text in quoted),
        "f.tsv": "\ufefftext\tid\r\n" + "".join(f"{text}\t3\r\n" for text in quoted),
    }
    for name, content in forms.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        corpus = load_corpus(str(tmp_path / name))
        assert [one.text for one in corpus.documents] == TEXTS and corpus.remarks == (), name
    for name in ("a.jsonl", "c.json"):
        assert [one.text for one in load_corpus("-", io.StringIO(forms[name])).documents] == TEXTS
    assert load_corpus(written(tmp_path / "one.json", records[0])).documents[0].text == TEXTS[0]
    prose = "[1] A reference.\n\n{not json}"
    assert [one.text for one in load_corpus("-", io.StringIO(prose)).documents] == prose.split("\n\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", '{"words": 3}', "Record 1 of .* neither a text nor messages"),
        ("a.json", "[1, 2]", "is JSON, but has no records"),
        ("a.json", "prose", "Line 1 of .* is not JSON"),
        ("a.csv", "id,body\n1,hello\n", r"has no column `text`; it has 'id', 'body'"),
        ("a.csv", "id,text\n1,hello, you\n", "Line 2 of .* has other columns"),
        ("a.csv", 'id,text\n1,"hello\n', "cannot be read as a table"),
        ("a.csv", "", "has no column `text`; it has none"),
        ("a.txt", '{"text": "hello"}\n{"text": "you"}\n', r"holds JSON\. Rename the file to \.jsonl"),
        ("a.html", "<p>hello</p>", r"is a \.html file, not plain text"),
        ("a.jsonl.gz", "x", r"is a \.gz file"),
    ],
)
def test_what_is_no_prose_is_not_read_as_prose(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(CorpusError, match=message):
        load_corpus(str(tmp_path / name))


def test_what_is_guessed_or_left_out_of_files_is_said(tmp_path: Path) -> None:
    (tmp_path / "book.part1").write_text("One.\n\nTwo.")
    (said,) = load_corpus(str(tmp_path / "book.part1")).remarks
    assert said == "Files with the unknown suffix .part1 read as prose: 1."
    (tmp_path / "a.txt").write_text("One.\n\n\ufeffTwo.")
    for name in ("b.json", "c.csv", ".hidden"):
        (tmp_path / name).write_text("x")
    corpus = load_corpus(str(tmp_path))
    assert [one.text for one in corpus.documents] == ["One.", "Two."]
    (said,) = corpus.remarks
    assert "left out" in said and ".csv, .json, .part1" in said and said.endswith(": 3.")


def test_conversations_in_every_form_are_the_same(tmp_path: Path) -> None:
    turns = [("user", "Hi. "), ("assistant", "Hello!")]
    records = [
        {"messages": [{"role": role, "content": text} for role, text in turns]},
        {"conversations": [{"from": "human", "value": "Hi. "}, {"from": "gpt", "value": "Hello!"}]},
        {"conversation": [{"role": role, "content": [{"type": "text", "text": text}]} for role, text in turns]},
        {
            "messages": [
                {"role": role, "content": [text[:2], {"type": "text", "text": text[2:]}]} for role, text in turns
            ]
        },
    ]
    for number, record in enumerate(records):
        corpus = load_corpus(written(tmp_path / f"{number}.jsonl", record))
        assert corpus.documents[0].messages == tuple(Message(*turn) for turn in turns)
        shared = "from" in json.dumps(record)
        assert [said.endswith(": 1.") and "ShareGPT" in said for said in corpus.remarks] == [True] * shared
    assert load_corpus(written(tmp_path / "all.jsonl", *records)).duplicates == 3


def test_what_a_turn_holds_besides_text_is_counted(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]}
    image = {
        "role": "user",
        "content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "?"}],
    }
    told = {"role": "assistant", "content": "yes", "reasoning_content": "hm", "tool_calls": None}
    hello = {"role": "user", "content": "hello"}
    source = written(
        tmp_path / "x.jsonl",
        {"messages": [hello, call]},
        {"messages": [image, told]},
        {"messages": [hello, call, told]},
    )
    corpus = load_corpus(source)
    assert [one.text for one in corpus.documents] == ["hello", "?yes", "helloyes"]
    assert corpus.documents[0].messages == (Message("user", "hello"), Message("assistant", ""))
    assert sorted(corpus.remarks) == [
        "Conversations with parts of type image_url, which are left out: 1.",
        "Conversations with turns whose reasoning_content is left out: 2.",
        "Conversations with turns whose tool_calls is left out: 2.",
    ]


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": None},
        {"role": "user"},
        {"role": "user", "content": 3},
        {"role": 3, "content": "x"},
        {"role": "user", "content": [{"type": "text"}]},
        {"role": "user", "content": [{"type": "text", "text": 3}]},
        {"from": "human"},
        "hello",
    ],
)
def test_turns_without_text_are_refused(tmp_path: Path, turn: object) -> None:
    with pytest.raises(CorpusError, match="Record 2 of"):
        load_corpus(written(tmp_path / "x.jsonl", {"text": "fine"}, {"messages": [turn]}))
