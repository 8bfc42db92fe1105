"""Reading text in every accepted form, refusing the rest with its place, and splitting by document group."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.corpus import Corpus, Document, Message, load_corpus
from bridge.corpus.split import HELD_OUT, assign_folds
from bridge.errors import CorpusError, UsageError

steady = settings(derandomize=True, deadline=None)

TEXTS = ("First paragraph.", "Second, with ünïcödé 日本 🙂.", "Third.")


def write_jsonl(path: Path, records: list[object]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return str(path)


def texts(corpus: Corpus) -> list[str]:
    return [document.text for document in corpus.documents]


def test_every_format_of_the_same_texts_is_the_same_corpus(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    spaced = "\n\n".join(TEXTS).replace("First ", "First\n  ")
    (tmp_path / "a.txt").write_text(spaced, encoding="utf-8")
    windows = "\ufeff" + spaced.replace("\n\n", "\n \t\n\n").replace("\n", "\r\n")
    (tmp_path / "b.md").write_bytes(windows.encode())
    write_jsonl(tmp_path / "c.jsonl", [{"text": text, "other": 1} for text in TEXTS])
    (tmp_path / "d.jsonl").write_text("\n".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    parquet.write_table(pa.table({"text": list(TEXTS)}), tmp_path / "e.parquet")
    corpora = [load_corpus(str(path)) for path in sorted(tmp_path.iterdir())]
    corpora += [load_corpus("-", io.StringIO((tmp_path / name).read_text())) for name in ("a.txt", "c.jsonl")]
    assert len(corpora) == 7
    for corpus in corpora:
        assert texts(corpus) == list(TEXTS)
        assert corpus.identity == corpora[0].identity
        assert corpus.documents == corpora[0].documents


def test_the_bundled_corpus_is_large_and_varied() -> None:
    corpus = load_corpus("english")
    assert len(corpus.documents) > 1000
    assert corpus.duplicates == 0
    assert len({document.group for document in corpus.documents}) > 100
    assert texts(load_corpus("english", max_documents=5)) == texts(corpus)[:5]


def test_identity_changes_with_text_order_and_groups_alone(tmp_path: Path) -> None:
    def identity(*records: object) -> str:
        return load_corpus(write_jsonl(tmp_path / "x.jsonl", list(records))).identity

    one, two = {"text": "one"}, {"text": "two"}
    same = identity(one, two)
    assert same == identity(one, two, one)
    assert len({same, identity(two, one), identity(one), identity({**one, "group": "g"}, {**two, "group": "g"})}) == 4


def test_the_paragraphs_of_a_file_in_a_folder_are_one_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "texts"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("one\n\ntwo")
    (folder / "deep" / "b.md").write_text("three\n\none")
    (folder / "ignored.py").write_text("four")
    corpus = load_corpus(str(folder))
    assert texts(corpus) == ["one", "two", "three"]
    assert corpus.duplicates == 1, "a text in two files would be fitted on and held out"
    groups = [document.group for document in corpus.documents]
    assert groups[0] == groups[1] != groups[2]
    moved = folder.rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert load_corpus("moved").identity == load_corpus(str(moved)).identity == corpus.identity


def test_groups_given_in_records_are_kept_even_where_they_are_zero(tmp_path: Path) -> None:
    records = [{"text": "a", "group": 0}, {"text": "b", "group": 0}, {"text": "c", "group": None}, {"text": "d"}]
    groups = [document.group for document in load_corpus(write_jsonl(tmp_path / "x.jsonl", records)).documents]
    assert groups == ["0", "0", "c", "d"]


def test_conversations_keep_their_turns(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Hi. "}, {"role": "assistant", "content": "Hello!"}]
    corpus = load_corpus(write_jsonl(tmp_path / "x.jsonl", [{"messages": turns}, {"text": "Hi. Hello!"}]))
    assert corpus.documents[0].messages == (Message("user", "Hi. "), Message("assistant", "Hello!"))
    assert texts(corpus) == ["Hi. Hello!"] * 2
    assert corpus.duplicates == 0, "a conversation is not the text of its messages"


def test_duplicates_are_counted_and_blank_records_are_none(tmp_path: Path) -> None:
    records = [{"text": text} for text in ("a", "b", "a", " ", "", "a", "c")]
    source = write_jsonl(tmp_path / "x.jsonl", records)
    corpus = load_corpus(source)
    assert (texts(corpus), corpus.duplicates) == (["a", "b", "c"], 2)
    assert texts(load_corpus(source, max_documents=2)) == ["a", "b"]


characters = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
plain = st.builds(Document, st.text(characters, min_size=1).filter(str.strip), st.text(characters, min_size=1))
turns = st.lists(st.builds(Message, st.sampled_from(["user", "assistant"]), plain.map(lambda d: d.text)), min_size=1)
chats = turns.map(lambda turns: Document("".join(turn.content for turn in turns), "g", tuple(turns)))


@settings(steady, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(plain | chats, min_size=1, max_size=6, unique_by=lambda d: (d.text, d.messages)))
def test_json_lines_of_a_corpus_read_back_to_an_equal_corpus(tmp_path: Path, documents: list[Document]) -> None:
    corpus = Corpus("any", tuple(documents))
    path = tmp_path / "copy.jsonl"
    path.write_text(corpus.to_jsonl(), encoding="utf-8", newline="")
    copies = [load_corpus(str(path)), load_corpus("-", io.StringIO(corpus.to_jsonl()))]
    for copy in copies:
        assert copy.documents == corpus.documents
        assert copy.identity == corpus.identity


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "has no text"),
        ("blank.txt", b" \n\n \n", "has no text"),
        ("empty.jsonl", b"", "has no text"),
        ("blank.jsonl", b'{"text": " "}\n', "has no text"),
        ("binary.txt", b"abc\0def", "binary"),
        ("latin.txt", "café".encode("latin-1"), r"not UTF-8 text \(byte 3\)"),
        ("utf16.txt", "word".encode("utf-16"), "not UTF-8"),
        ("bad.jsonl", b'{"text": "a"}\n\n{"text": \n', "Line 3 of .*bad.jsonl is not JSON"),
        ("wrong.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "Record 2 of .* neither a text nor messages"),
        ("number.jsonl", b'{"text": 3}\n', "Record 1"),
        ("list.jsonl", b'["text"]\n', "Record 1"),
        ("string.jsonl", b'"messages"\n', "Record 1"),
        ("turn.jsonl", b'{"messages": [{"content": "no role"}]}\n', "Record 1"),
        ("parts.jsonl", b'{"messages": [{"role": "user", "content": [{"type": "text"}]}]}\n', "Record 1"),
        ("null.jsonl", b'{"messages": [{"role": "user", "content": null}]}\n', "Record 1"),
        ("surrogate.jsonl", b'{"text": "\\ud800"}\n', "Record 1 .* not valid Unicode"),
        ("bad.parquet", b"PAR1 not really", "not a readable parquet file"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        load_corpus(str(tmp_path / name))


def test_missing_files_folders_and_streams_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"There is no corpus .*english for the bundled"):
        load_corpus(str(tmp_path / "nowhere.txt"))
    with pytest.raises(CorpusError, match=r"holds no \.txt, \.md, \.jsonl, \.parquet file"):
        load_corpus(str(tmp_path))
    with pytest.raises(UsageError, match="Standard input is not available"):
        load_corpus("-")
    with pytest.raises(CorpusError, match="not UTF-8"):
        load_corpus("-", io.TextIOWrapper(io.BytesIO(b"caf\xe9"), encoding="utf-8"))
    with pytest.raises(CorpusError, match="binary"):
        load_corpus("-", io.StringIO("a\0b"))


@steady
@given(st.lists(st.integers(1, 400), min_size=1, max_size=40), st.integers(1, 600))
def test_chunks_cover_every_document_once_in_order(lengths: list[int], characters: int) -> None:
    corpus = Corpus("any", tuple(Document("x" * length, str(i)) for i, length in enumerate(lengths)))
    chunks = corpus.chunks(characters)
    assert [index for chunk in chunks for index in chunk] == list(range(len(lengths)))
    sizes = [sum(lengths[index] for index in chunk) for chunk in chunks]
    assert all(size >= characters for size in sizes[:-1])
    assert all(size - lengths[chunk[-1]] < characters for size, chunk in zip(sizes, chunks, strict=True))


def grouped(labels: list[int]) -> Corpus:
    return Corpus("any", tuple(Document(f"text {i}", f"group {label}") for i, label in enumerate(labels)))


@steady
@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=120),
    st.floats(0.0, 0.9),
    st.integers(2, 5),
    st.sampled_from(["random", "last"]),
    st.integers(0, 3),
)
def test_groups_never_straddle_a_split(labels: list[int], held_out: float, folds: int, kind: str, seed: int) -> None:
    corpus = grouped(labels)
    arguments = {"held_out": held_out, "folds": folds, "kind": kind, "seed": seed}
    count = len(set(labels))
    try:
        fold = assign_folds(corpus, **arguments)
    except CorpusError as error:
        assert f"has {count} independent documents" in str(error)
        if kind == "last":
            assert round(held_out * count) < 2 or count - round(held_out * count) < folds
        return
    assert np.array_equal(fold, assign_folds(corpus, **arguments))
    of_group = {label: set(fold[np.array(labels) == label]) for label in labels}
    assert all(len(folds_of_group) == 1 for folds_of_group in of_group.values())
    sizes = np.bincount([next(iter(one)) + 1 for one in of_group.values()], minlength=folds + 1)
    assert sizes[0] >= 2
    assert len(sizes) == folds + 1
    assert sizes[1:].min() >= 1
    assert sizes[1:].max() - sizes[1:].min() <= 1
    if kind == "last":
        assert sizes[0] == round(held_out * count)
        order = list(dict.fromkeys(labels))
        assert {label for label, one in of_group.items() if HELD_OUT in one} == set(order[-sizes[0] :])


def test_more_documents_move_none_across_a_random_split() -> None:
    arguments = {"held_out": 0.3, "folds": 5, "kind": "random", "seed": 0}
    few, many = (assign_folds(grouped(list(range(n))), **arguments) == HELD_OUT for n in (200, 2000))
    assert np.array_equal(few, many[:200])
    assert 0.27 < many.mean() < 0.33


def test_another_seed_holds_out_other_documents() -> None:
    corpus = grouped(list(range(100)))
    draws = [assign_folds(corpus, held_out=0.2, folds=5, kind="random", seed=seed) == HELD_OUT for seed in range(4)]
    assert len({draw.tobytes() for draw in draws}) == 4
