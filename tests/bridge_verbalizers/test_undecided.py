"""Readers whose files do not say how a vector is injected: a probe decides on a real tiny model, and says so."""

from __future__ import annotations

import html
import json
from pathlib import Path

import numpy as np
import pytest

from bridge.errors import BridgeError
from bridge.plugins import Registry
from bridge.readers.probe import unlike_vectors
from bridge.report.html import write_report
from hearing_files import Heard, write_undecided
from nla_files import TrainedSubject
from small_plugins import bridge

SAID = "do not say how a vector is injected"


@pytest.mark.parametrize("heard", ["add", "replace"])
def test_a_probe_decides_and_says_so(heard: Heard, registry: Registry, tmp_path: Path) -> None:
    kind, x = registry.verbalizers["lora_nla"], np.concatenate([unlike_vectors(32), -unlike_vectors(32)])
    checkpoint = str(write_undecided(tmp_path, heard))
    verbalizer = kind(checkpoint=checkpoint).open(TrainedSubject(32))
    assert verbalizer.notes() == []
    found = verbalizer.explain(x)
    assert [one.text for one in found[:2]] == ["map", "stream"]
    (said,) = verbalizer.notes()
    assert SAID in said and f"chose inject={heard}" in said
    given = kind(checkpoint=checkpoint, inject=heard).open(TrainedSubject(32))
    assert given.explain(x) == found and given.notes() == []
    # The command says it in the terminal and in the result, with cached explanations too.
    model, out = f"{tmp_path / 'base'}@1", tmp_path / "first.json"
    flags = ("--src", model, "--via", model, "--verbalizer", f"lora_nla:checkpoint={checkpoint}", "--text", "the map")
    for file in (out, tmp_path / "again.json"):
        code, _, err = bridge("explain", *flags, "--max-documents", 40, "--out", file)
        assert code == 0, err
        (noted,) = json.loads(file.read_text())["bridge"]["verbalizer_notes"]
        assert noted.endswith(said) and "lora_nla" in noted and said in " ".join(err.split())
    assert said in html.unescape(write_report([out], tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("heard", "found"), [("both", "more than one"), ("neither", "none")])
def test_what_a_probe_cannot_tell_is_refused(heard: Heard, found: str, registry: Registry, tmp_path: Path) -> None:
    kind, checkpoint = registry.verbalizers["lora_nla"], str(write_undecided(tmp_path, heard))
    with pytest.raises(BridgeError, match=rf"{found}(.|\n)*inject=add or inject=replace"):
        kind(checkpoint=checkpoint).open(TrainedSubject(32)).explain(unlike_vectors(32))
    assert kind(checkpoint=checkpoint, inject="add").open(TrainedSubject(32)).explain(unlike_vectors(32))


def test_a_run_has_the_notes_of_its_verbalizers(corpus_file: Path, tmp_path: Path) -> None:
    reader = f"lora_nla:checkpoint={write_undecided(tmp_path, 'add')}"
    model, out = f"{tmp_path / 'base'}@1", tmp_path / "out"
    flags = ("--src", "tiny-qwen@0", "--dst", model, "--src-verbalizer", "logit_lens", "--dst-verbalizer", reader)
    sizes = ("--corpus", corpus_file, "--max-documents", 60, "--max-tokens", 48, "--positions", 4, "--encoder", "lsa")
    code, _, err = bridge("run", *flags, *sizes, "--map", "procrustes", "--out", out)
    assert code == 0, err
    (said,) = json.loads((out / "metrics.json").read_text())["bridge"]["verbalizer_notes"]
    assert "chose inject=add" in said and said in " ".join(err.split())
    page = html.unescape((out / "report.html").read_text(encoding="utf-8"))
    assert said in page and "Of the verbalizers:" in page
