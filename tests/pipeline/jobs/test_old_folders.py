"""Folders that earlier versions wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.corpus import load_corpus
from bridge.plugins import discover
from small_plugins import bridge

FIT = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--map", "procrustes", "--max-documents", 300)


def test_a_corpus_that_moved_with_its_package_is_found_by_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # Earlier versions wrote the path inside the installation; now the name is written.
    found = load_corpus("dyck-words", max_documents=300, named=discover().corpora)
    moved = f'corpus = "/gone/bridge_models/dyck/corpus.jsonl"\ncorpus_sha256 = "{found.identity}"\n'
    Path("old.toml").write_text(moved)
    code, _, err = bridge("fit", "old.toml", *FIT, "--out", "again")
    assert code == 0 and "the corpus dyck-words has the same content" in " ".join(err.split())
    assert json.loads(Path("again/bridge.json").read_text())["provenance"]["corpus"]["name"] == "dyck-words"
    Path("other.toml").write_text(moved.replace(found.identity, "0" * 64))
    code, _, err = bridge("fit", "other.toml", *FIT, "--out", "never")
    assert code == 1 and "no corpus /gone" in " ".join(err.split())
