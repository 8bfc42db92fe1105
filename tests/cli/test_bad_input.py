"""Input that no parser expects ends in an error of bridge: no traceback, no "bug in bridge", no hang."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from pathlib import Path

import pytest

from bridge.cli import main
from bridge.errors import BridgeError, StoreError, UsageError
from bridge.files import cache_folder, expand_user, stamp_of
from bridge.models.resolve import user_aliases
from bridge.models.weights import models_folder
from bridge.pipeline.jobs.results import read_input
from bridge.pipeline.transfer.directions import parse_features
from bridge.references import expand_references, parse_site, parse_sites
from bridge.store import Store, canonical_json, sha256
from sealed_files import sealed

DEEP = 100_000
DIGITS = "7" * 5000


def refused(*arguments: object) -> str:
    err = io.StringIO()
    with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    said = " ".join(err.getvalue().split())
    assert stop.value.code in (1, 2, 3), said
    assert "bug in bridge" not in said and "Traceback" not in said
    return said


def test_deeply_nested_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / "deep.toml"
    deep.write_text(f"src = {'[' * DEEP}{']' * DEEP}")
    assert "is not a readable TOML file" in refused("run", deep)
    assert "is not a readable TOML file" in refused("rehearse", deep)
    config = tmp_path / "config"
    config.mkdir()
    (config / "aliases.toml").write_text(deep.read_text())
    monkeypatch.setenv("BRIDGE_CONFIG_DIR", str(config))
    assert "is not readable TOML" in refused("run", "--src", "mine", "--dst", "dyck:seed1@1")
    result = tmp_path / "result.json"
    result.write_text(sealed('{"deep": ' + "[" * DEEP))
    with pytest.raises(BridgeError, match="is not JSON"):
        read_input(result)


@pytest.mark.parametrize("site", [DIGITS, f"-{DIGITS}", f"{DIGITS}%", f"blocks.{DIGITS}.hook_resid_post"])
def test_numbers_of_thousands_of_digits_are_no_sites(site: str) -> None:
    for parse in (parse_site, parse_sites):
        with pytest.raises(UsageError):
            parse(site, 4)


def test_ranges_are_bounded_before_they_are_expanded() -> None:
    for text in ("x:seed1..999999999999", f"x:seed1..{DIGITS}", f"x:seed{DIGITS}..{DIGITS}@3"):
        with pytest.raises(UsageError, match="too long"):
            expand_references(text)
    assert expand_references("x:seed08..10@3") == ["x:seed8@3", "x:seed9@3", "x:seed10@3"]
    for text in (f"1-{DIGITS}", f"{DIGITS}-{DIGITS}"):
        with pytest.raises(UsageError):
            parse_sites(text, 4)
        with pytest.raises(UsageError):
            parse_features(text)
    assert "too long" in refused("audit", "--src", "dyck:seed0@1", "--dst", "dyck:seed1..999999999999@1")


def test_texts_to_explain_that_are_not_text_are_refused(tmp_path: Path) -> None:
    texts = tmp_path / "latin.txt"
    texts.write_bytes("café\n".encode("latin1"))
    pair = ("--src", "dyck:seed0@1", "--via", "dyck:seed1@1", "--verbalizer", "logit_lens")
    assert "is not UTF-8 text (byte 3)" in refused("explain", *pair, "--file", texts)


def test_without_a_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert expand_user("~no-such-user/model") == Path("~no-such-user/model")
    assert "~no-such-user" in refused("run", "--src", "~no-such-user/model@1", "--dst", "dyck:seed1@1")
    for name in ("CACHE", "CONFIG", "MODELS"):
        monkeypatch.delenv(f"BRIDGE_{name}_DIR")
        monkeypatch.delenv(f"XDG_{'DATA' if name == 'MODELS' else name}_HOME", raising=False)
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("os.path.expanduser", str)  # what it does where the system knows no home
    assert user_aliases() == {}
    with pytest.raises(StoreError, match="Set BRIDGE_CACHE_DIR"):
        cache_folder()
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path))
    assert models_folder() == tmp_path / "models"


@pytest.mark.parametrize("damage", [b"", b"\xff" * 64, b"0" * 63, b"0" * 64, None])
def test_a_memo_that_cannot_be_read_is_as_good_as_none(damage: bytes | None, tmp_path: Path) -> None:
    path, store = tmp_path / "weights", Store(tmp_path / "cache")
    path.write_bytes(b"weights")
    os.utime(path, ns=(1, 1))
    digest = sha256(path)
    memo = store.root / "hashes" / hashlib.sha256(canonical_json(stamp_of(path)[0]).encode()).hexdigest()
    memo.parent.mkdir(parents=True)
    if damage is None:
        memo.mkdir()  # neither readable nor writable as a file, for root too
    else:
        memo.write_bytes(damage)
    assert store.hash_of(path) == digest
