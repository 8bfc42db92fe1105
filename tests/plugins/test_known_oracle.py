"""A published reader that answers questions: taken if there is a question, and named in the error if there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from published_files import write_base, write_oracle
from small_plugins import Package, bridge

SOURCE = """
from bridge.hookspecs import hookimpl
from bridge.verbalizers import KnownReader

@hookimpl
def register_known_readers(register):
    verbalizer = "activation_oracle:max_new_tokens=3,checkpoint={folder}/oracle"
    register(KnownReader("my-oracle", "{folder}/base", ("1",), verbalizer, asks=True, source="https://example.org"))
"""


@pytest.fixture
def base(package: Package, tmp_path: Path) -> str:
    write_base(tmp_path / "base")
    write_oracle(tmp_path / "oracle", tmp_path / "base", {})
    package("brings-oracle", SOURCE.format(folder=tmp_path), "readers.oracle")
    return str(tmp_path / "base")


def explain(base: str, via: str, *more: str) -> tuple[int, str, str]:
    flags = ("--src", f"{base}@1", "--via", via, "--text", "the map of it", "--text", "a stream")
    code, out, err = bridge("explain", *flags, "--max-documents", 40, "--json", *more)
    return code, out, " ".join(err.split())


def test_a_question_finds_its_reader(base: str) -> None:
    question = "Which topic is this about?"
    code, out, err = explain(base, base, "--ask", question)
    assert code == 0, err
    found = json.loads(out)
    assert "is read at 1, by my-oracle" in err and found["bridge"]["dst"] == f"{base}@1"
    assert found["bridge"]["verbalizer"].startswith("activation_oracle:") and found["bridge"]["question"] == question
    # One answer a text, the same as the reader gives if it is named.
    code, out, err = explain(base, f"{base}@1", "--verbalizer", found["bridge"]["verbalizer"], "--ask", question)
    assert code == 0, err
    assert [one["text"] for one in found["readings"]] == ["the map of it", "a stream"]
    assert json.loads(out)["readings"] == found["readings"]


@pytest.mark.parametrize("site", ["", "@1"])
def test_an_oracle_that_is_asked_nothing_is_not_taken(site: str, base: str) -> None:
    code, out, err = explain(base, f"{base}{site}")
    assert code == 2 and not out and "--ask" in err and "my-oracle answers it" in err


def test_an_oracle_of_another_layer_is_not_taken(base: str) -> None:
    code, _, err = explain(base, f"{base}@2", "--ask", "Which topic?")
    assert code == 2 and "no verbalizer" in err and "my-oracle" not in err
