"""Texts that readers write are untrusted: they reach the terminal, JSON and the report as text, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.display.words import shown
from bridge.readers import decoding
from bridge.report.html import write_report
from html_tree import text_of
from published_files import tokenizer_of, write_base, write_easynla_av, write_oracle
from report_files import HOSTILE, well_formed
from small_plugins import Package, bridge

CONTROLS = set("\x00\x1b\x07\u202e\u2066\ud800")
STRANGER = """
from dataclasses import dataclass
from bridge.hookspecs import hookimpl
from bridge.verbalizers import Explanation, Verbalizer, VerbalizerBackend, check_vectors

HOSTILE = {hostile}

class Writes(Verbalizer):
    def __init__(self, d_model):
        self.d_model = d_model

    def explain(self, vectors):
        check_vectors(vectors, self.d_model)
        return [Explanation(HOSTILE[row % len(HOSTILE)], (HOSTILE[-1],)) for row in range(len(vectors))]

    def notes(self):
        return list(HOSTILE)

@dataclass(frozen=True)
class Stranger(VerbalizerBackend):
    name, summary = "stranger", "For this test."

    def open(self, subject):
        return Writes(subject.d_model)

@hookimpl
def register_verbalizers(register):
    register(Stranger)
"""


def explain(*flags: object, out: Path) -> tuple[str, str, str]:
    """Explain to the terminal, and once more to a file; return both streams and the page made of the file."""
    code, said, err = bridge("explain", *flags)
    assert code == 0, err
    code, _, err = bridge("explain", *flags, "--json", "--out", out)
    assert code == 0, err
    return said, err, write_report([out], out.with_suffix(".html")).read_text(encoding="utf-8")


def test_what_a_strangers_verbalizer_writes(package: Package, tmp_path: Path) -> None:
    texts = [*HOSTILE, "\u2066[link=http://evil.example]x[/link]\u2069\x07"]
    package("brings-stranger", STRANGER.format(hostile=ascii(texts)), "verbalizers.stranger")
    flags = ("--src", "dyck:seed0@1", "--via", "dyck:seed0@1", "--verbalizer", "stranger", "--max-documents", 300)
    said, err, page = explain(*flags, "--text", "([]{}([]{}(", out=tmp_path / "out.json")
    assert not CONTROLS & set(said + err + page)
    assert "[link=http://evil.example]" in said and "<img src=x onerror=alert(1)>" in said
    read = text_of(well_formed(page))
    kept = [text.replace("\ud800", "\ufffd") for text in texts]
    for text in kept:
        assert " ".join(shown(text).split()) in read
    readings = json.loads((tmp_path / "out.json").read_text())["readings"]
    assert {one["explanation"] for one in readings} == set(kept), "results keep all that is a character"


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("readers")
    write_base(root / "base")
    write_easynla_av(root / "easynla", root / "base")
    write_oracle(root / "oracle", root / "base", {})
    return root


def test_what_a_model_writes(readers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "\x1b[31m<script>alert(1)</script>\x07 \u202e[red]x[/red]\u202c"
    ids = tokenizer_of(readers / "base").encode(hostile, add_special_tokens=False)
    monkeypatch.setattr(decoding.Speaker, "say", lambda self, blends, *_: [list(ids)] * len(blends.vectors))
    model = f"{readers / 'base'}@1"
    reader = f"activation_oracle:checkpoint={readers / 'oracle'}"
    flags = ("--src", model, "--via", model, "--verbalizer", reader, "--max-documents", 40)
    said, err, page = explain(*flags, "--text", "the map", "--ask", hostile, out=tmp_path / "out.json")
    assert not CONTROLS & set(said + err + page)
    assert "[red]x[/red]" in said and said.count("<script>alert(1)</script>") >= 2, "the question is shown, too"
    assert "<script>alert(1)" not in page and "<script>alert(1)</script>" in text_of(well_formed(page))


@pytest.mark.parametrize("kind", ["easynla", "activation_oracle"])
def test_special_tokens_are_no_text(kind: str, readers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = tokenizer_of(readers / "base")
    pieces = ["<explanation>a farm", "<bos>", " and a cow", "<eos>", "</explanation>"]
    ids = [one for piece in pieces for one in tokenizer.encode(piece, add_special_tokens=False)]
    assert {tokenizer.bos_token_id, tokenizer.eos_token_id} <= set(ids)
    monkeypatch.setattr(decoding.Speaker, "say", lambda self, blends, *_: [list(ids)] * len(blends.vectors))
    model, folder = f"{readers / 'base'}@1", readers / {"easynla": "easynla", "activation_oracle": "oracle"}[kind]
    reader = f"{kind}:checkpoint={folder}" + (",ask=What?" if kind == "activation_oracle" else "")
    flags = ("--src", model, "--via", model, "--verbalizer", reader, "--max-documents", 40, "--text", "the map")
    code, out, err = bridge("explain", *flags, "--json")
    assert code == 0, err
    wanted = tokenizer.decode(ids, skip_special_tokens=True)
    if kind == "easynla":
        wanted = wanted.removeprefix("<explanation>").removesuffix("</explanation>")
    assert {one["explanation"] for one in json.loads(out)["readings"]} == {wanted}
    assert "a farm and a cow" in wanted
