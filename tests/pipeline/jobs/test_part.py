"""A job array fills the store part by part, and the plain command goes on from there with the same results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bridge.cli import main
from bridge.files.sealed import write_kept


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.corpus.shards.SHARD_CHARACTERS", 4000)
    needed = (
        "activation_sources.transformers",
        "models.llama",
        "models.gemma",
        "maps.ridge",
        "maps.random_orthogonal",
        "scorers.explained_variance",
    )
    monkeypatch.setenv("BRIDGE_ONLY_PLUGINS", ",".join(needed))


@pytest.mark.usefixtures("small")
def test_parts_of_run_and_sweep(
    experiment: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path / "alone"))
    main(["run", *experiment, "--out", str(tmp_path / "one")])
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path / "shared"))
    capsys.readouterr()
    main(["run", *experiment, "--part", "2/2", "--json"])
    first = json.loads(capsys.readouterr().out)
    assert first == {
        "part": 2,
        "parts": 2,
        "shards": first["shards"],
        "missing": [1],
        "store": str(tmp_path / "shared"),
    }
    assert first["shards"] > 0
    main(["run", *experiment, "--part", "1/2"])
    assert "All 2 parts are there: run the same command without --part." in capsys.readouterr().out
    assert not (tmp_path / "two").exists()
    main(["run", *experiment, "--out", str(tmp_path / "two")])
    captured = capsys.readouterr()
    assert captured.err.count("are in the cache") == 2
    assert "Loading" not in captured.err
    for name in ("metrics.json", "bridge.safetensors", "bridge.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    # Where memory ran out, results say so.
    (sidecar, *_) = sorted((tmp_path / "shared").glob("activations/*/shard-00001.json"))
    write_kept(sidecar, json.loads(sidecar.read_text())["kept"] | {"halved": 2})
    main(["run", *experiment, "--out", str(tmp_path / "two")])
    assert "memory ran out in 1 of" in " ".join(capsys.readouterr().err.split())
    said = json.loads((tmp_path / "two" / "bridge.json").read_text())["provenance"]["shards_with_halved_batches"]
    assert sorted(said.values()) == [0, 1]
    # A sweep collects other sites, so it has parts of its own.
    layers = [argument.replace("@1", "@*") for argument in experiment]
    main(["sweep", *layers, "--part", "1/3"])
    out = capsys.readouterr().out
    assert "Not complete there: parts 2,3 of 3." in out
    main(["sweep", *layers, "--out", str(tmp_path / "three")])
    assert "Parts 2,3 of 3 left nothing in" in capsys.readouterr().err
