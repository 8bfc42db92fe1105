"""What reaches a terminal: no character that steers it, whoever wrote the text, and never megabytes."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from bridge.errors import printable
from small_plugins import Package, a_map, bridge

EVIL = "x\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj\u2066\u200e\u200b\r"
STEERS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
PAIR = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--max-documents", "300")
MODEL = ("--src", f"{EVIL}@1", "--dst", "dyck:seed1@1")
LAYER = ("--src", f"dyck:seed0@{EVIL}", "--dst", "dyck:seed1@1")
ONE_OF_EACH = {
    "unknown command": (EVIL,),
    "unknown flag": ("fit", f"--{EVIL}"),
    "model": ("fit", *MODEL, "--out", "o"),
    "layer": ("run", *LAYER),
    "map": ("fit", *PAIR, "--map", EVIL, "--out", "o"),
    "option of a map": ("run", *PAIR, "--map", f"ridge:{EVIL}=1"),
    "corpus": ("run", *PAIR, "--corpus", EVIL, "--out", "o"),
    "scorer": ("run", *PAIR, "--scorer", EVIL),
    "requirement": ("run", *PAIR, "--require", f"{EVIL}>=0.3"),
    "dictionary": ("run", *PAIR, "--dictionary", f"./{EVIL}"),
    "experiment file": ("run", EVIL),
    "rehearsal": ("rehearse", EVIL),
    "rehearsed model": ("fit", *MODEL, "--out", "o", "--rehearse"),
    "dry run": ("run", *PAIR, "--dry-run", "--corpus", EVIL),
    "sweep": ("sweep", *MODEL),
    "part": ("run", *PAIR, "--part", EVIL),
    "bridge": ("transfer", "directions", EVIL, EVIL, "--out", EVIL),
    "probes": ("transfer", "probes", EVIL, EVIL, "--out", "o"),
    "sae": ("transfer", "sae", EVIL, EVIL, "--out", "o"),
    "audit": ("audit", *MODEL, "--dictionary", EVIL),
    "steer": ("steer", EVIL, "--contrast", EVIL),
    "explain": ("explain", "--src", f"{EVIL}@1", "--via", "dyck:seed1@1", "--text", EVIL),
    "verbalizer": ("verbalizer", "train", EVIL, "--out", EVIL),
    "lens": ("lens", "fit", EVIL, "--out", EVIL),
    "report": ("report", EVIL),
    "models": ("models", EVIL),
    "readers": ("readers", EVIL),
    "plugin": ("plugins", "check", EVIL),
    "kind": ("new-plugin", "maps", EVIL),
    "doctor": ("doctor", "--model", EVIL),
    "device": ("run", *PAIR, "--device", EVIL),
    "engine": ("run", *PAIR, "--engine", EVIL),
}


@pytest.mark.parametrize("arguments", ONE_OF_EACH.values(), ids=ONE_OF_EACH)
def test_a_hostile_name_in_every_command(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = bridge(*arguments)
    assert code not in (0, None) or "\\x1b" in out + err
    assert not STEERS.findall(out + err), (out, err)


def test_results_and_notes_name_what_is_hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "f\x1b[2J\u202e\udc80"
    corpus = tmp_path / "c\x1b[2J.txt"
    corpus.write_text("\n\n".join(f"({'()' * (n % 7 + 1)}) [{n % 10}]" for n in range(200)))
    code, out, err = bridge("fit", *PAIR, "--map", "procrustes", "--out", folder, "--corpus", corpus)
    assert code == 0 and "\\x1b[2J\\u202e\\udc80" in out, err
    assert not STEERS.findall(out + err)
    # The document on standard output is the document: an escape of JSON is the character itself.
    code, out, err = bridge("fit", *PAIR, "--map", "procrustes", "--out", f"{folder}2", "--json", "--corpus", corpus)
    assert code == 0 and json.loads(out)["folder"] == f"{folder}2"
    assert not STEERS.findall(out + err)


def test_a_plugin_that_writes_at_import_and_at_work(package: Package, tmp_path: Path) -> None:
    shouts = f"""
import logging, sys
print({EVIL!r} + "printed"); sys.stderr.write({EVIL!r} + "written\\n"); sys.stdout.buffer.write(b"\\x1b[2Jbytes\\n")
logging.getLogger("loud").handlers[:] = [logging.StreamHandler()]
logging.getLogger("loud").warning({EVIL!r} + "logged")
"""
    work = "\n        ".join([*shouts.strip().split("\n"), "return super().fit(data)"])
    package("loud", shouts + a_map("loud", work), "maps.loud")
    code, out, err = bridge("fit", *PAIR, "--map", "loud", "--out", tmp_path / "b", "--json")
    assert code == 0 and json.loads(out)["map"] == "loud"
    assert all(f"{word}" in err for word in ("printed", "written", "bytes", "logged"))
    assert err.count("bytes") >= 2, "at import and at work"
    assert not STEERS.findall(out + err), err


def test_the_name_of_a_distribution(package: Package, tmp_path: Path) -> None:
    package("evil", f"raise RuntimeError({EVIL!r})", "maps.evil")
    (metadata,) = (tmp_path / "site-packages").glob("evil*/METADATA")
    metadata.write_text("Metadata-Version: 2.1\nName: e\x1b[2J\u202evil\nVersion: 1\x1b[31m\n", encoding="utf-8")
    for arguments in (("plugins",), ("plugins", "check", "maps.evil")):
        _, out, err = bridge(*arguments)
        assert "\\x1b[2J" in out + err and not STEERS.findall(out + err)


def test_a_megabyte_is_cut_and_says_so(tmp_path: Path) -> None:
    for arguments in (("report", "y" * 10**6), ("y" * 10**6,), ("plugins", "check", "y" * 10**6)):
        code, _, err = bridge(*arguments)
        assert code != 0 and len(err) < 12_000
        assert re.search(r"9[89]\d,\d{3} characters left out", " ".join(err.split()))


def test_a_usage_error_keeps_its_lines() -> None:
    _, _, err = bridge("fit", "--nonsense")
    assert err.startswith("Usage: ") and "\nError: No such option" in err and "--help" in err


@pytest.mark.parametrize(("text", "escaped"), [("\u202e", "\\u202e"), ("\x1b", "\\x1b"), ("\U000e0041", "\\U000e0041")])
def test_escapes(text: str, escaped: str) -> None:
    assert printable(text) == escaped and printable("naïve 漢字 🙂\n\t") == "naïve 漢字 🙂\n\t"


def test_a_path_that_is_not_utf8(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff\x1b.txt"
    code, _, err = bridge("run", *PAIR, "--corpus", os.fsdecode(name))
    assert code == 2 and "is not text in UTF-8" in " ".join(err.split())
    assert "\\udcff\\x1b.txt" in "".join(err.split())
