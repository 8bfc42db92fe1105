"""`bridge cache`: what is there, what is damaged, and what is deleted."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from bridge.claims import Claim
from small_plugins import bridge

FIT = ("fit", "--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--max-documents", "300", "--map", "procrustes")


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache after one fit."""
    code, _, err = bridge(*FIT, "--out", tmp_path / "bridge")
    assert code == 0, err
    (mine := Path(os.environ["BRIDGE_CACHE_DIR"]) / "models" / "mine").mkdir(parents=True)
    (mine / "config.json").write_text("{}")
    return mine.parent.parent


def document(*arguments: object) -> dict[str, list[dict[str, object]]]:
    code, out, err = bridge("cache", *arguments, "--json")
    assert code == 0, err
    return dict(json.loads(out))


def test_it_shows_verifies_and_prunes(cache: Path) -> None:
    found = document()["entries"]
    activations = [entry for entry in found if entry["kind"] == "activations"]
    assert len(activations) == 2 and all("dyck" in str(entry["about"]) for entry in activations)
    _, out, _ = bridge("cache")
    assert "activations" in out and "MB in " in out and "mine" not in out
    assert bridge("cache", "verify")[0] == 0

    shard = next(Path(str(activations[0]["path"])).glob("*.safetensors"))
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    code, out, _ = bridge("cache", "verify")
    assert code == 1 and f"DAMAGED: {shard} is not the file that was written." in out and "1 damaged" in out

    assert bridge("cache", "prune")[0] == 2, "no condition"
    assert bridge("cache", "prune", "--kind", "models")[0] == 2, "models are the user's"
    code, out, _ = bridge("cache", "prune", "--damaged", "--dry-run")
    assert code == 0 and "1 entries" in out and shard.exists()
    claim = Claim(shard.parent / ".shard-00000.claim")
    assert claim.take()  # as another process that makes a shard of it
    assert [len(found) for found in document("prune", "--damaged", "--yes").values()] == [1, 0, 1]
    claim.release()
    assert len(document("prune", "--damaged", "--yes")["deleted"]) == 1
    assert not shard.parent.exists() and bridge("cache", "verify")[0] == 0
    assert not document("prune", "--unused-days", "1", "--yes")["deleted"]
    old = time.time() - 3 * 24 * 3600
    for path in cache.rglob("*"):
        os.utime(path, (old, old))
    assert document("prune", "--unused-days", "1", "--yes")["deleted"]
    assert not document()["entries"] and (cache / "models" / "mine" / "config.json").exists()


@pytest.mark.parametrize("name", ["bridge.json", "owner.json", "bridge.safetensors"])
def test_every_file_of_a_cached_bridge(name: str, cache: Path) -> None:
    code, _, err = bridge(*_explain())
    assert code == 0, err
    (path,) = (cache / "bridges").glob(f"*/{name}")
    path.write_bytes(path.read_bytes()[:-2])
    code, out, _ = bridge("cache", "verify")
    assert code == 1 and name in out


def _explain() -> tuple[str, ...]:
    pair = ("--src", "dyck:seed0@1", "--via", "dyck:seed1@1", "--max-documents", "300", "--map", "procrustes")
    return ("explain", *pair, "--verbalizer", "logit_lens", "--text", "(([]))")
