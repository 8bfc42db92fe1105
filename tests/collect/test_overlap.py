"""The files of a shard are written while the next one runs: the same files, and no failure is lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from bridge.collect import Collector
from bridge.collect import activations as collecting
from bridge.collect.rows import ShardRows
from bridge.errors import ModelError, StoreError
from bridge.references import Site
from bridge.store import Artifact
from toy_collection import CHUNK, CORPUS, Rounding, Toy, artifacts_in, contents, fill_up, make

SHARDS = len(CORPUS.chunks(CHUNK))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.corpus.shards.SHARD_CHARACTERS", CHUNK)
    monkeypatch.setattr(collecting, "TOKENS_PER_BATCH", {"cpu": 512})


class Watched(Rounding):
    """Does something before the forward pass of a number."""

    def __init__(self, number: int, act: Any) -> None:
        super().__init__()
        self.number, self.act = number, act

    def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
        if len(self.shapes) == self.number:
            self.act()
        return super().activations(ids, mask, sites)


def passes_of_first_shard(folder: Path) -> int:
    counted = Rounding()
    artifacts, settings = artifacts_in(folder)
    Collector(lambda: counted, artifacts, CORPUS, settings).collect_shard(0)
    return len(counted.shapes)


def test_a_shard_is_written_while_the_next_one_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "alone", Rounding())
    expected, first = contents(tmp_path / "alone"), passes_of_first_shard(tmp_path / "first")
    cache, running, write = tmp_path / "overlapped", threading.Event(), Artifact.write
    held: list[list[str]] = []

    def write_late(self: Artifact, index: int, *rest: Any) -> None:
        assert running.wait(60), "the next shard did not run"
        held.append([path.name for path in self.path.glob(".*.claim")])
        write(self, index, *rest)

    monkeypatch.setattr(Artifact, "write", write_late)
    make(cache, Watched(first, running.set))
    assert ".shard-00000.claim" in held[0], "claimed until it is written"
    assert contents(cache) == expected
    assert max(len(claims) for claims in held) <= 2, "at most two shards are in memory"


def test_each_shard_waits_for_the_files_of_the_last_but_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, there = Artifact.write, []
    artifacts, settings = artifacts_in(tmp_path)
    source = Rounding()
    collector = Collector(lambda: source, artifacts, CORPUS, settings)

    def write_slowly(self: Artifact, *rest: Any) -> None:
        threading.Event().wait(0.1)
        write(self, *rest)

    monkeypatch.setattr(Artifact, "write", write_slowly)
    for index in range(SHARDS):
        assert collector.begin_shard(index) == ""
        there.append([k for k in range(SHARDS) if all(one.seems_there(k) for one in artifacts.values())])
    assert all(set(range(index)) <= set(done) for index, done in enumerate(there))
    assert SHARDS - 1 not in there[-1]
    collector.finish()
    collector.finish()
    assert all(one.has(k) for one in artifacts.values() for k in range(SHARDS))
    assert not any(name.endswith(".claim") for name in contents(tmp_path))


def litter(cache: Path) -> list[str]:
    return [name for name in contents(cache) if name.endswith((".claim", ".tmp"))]


def test_a_full_disk_is_told_within_the_next_shard_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "alone", Rounding())
    cache, source = tmp_path / "full", Rounding()
    with monkeypatch.context() as patch:
        fill_up(2 + 2 * 2, patch.setattr)  # recipes, and a shard of both sites with their sidecars
        with pytest.raises(StoreError, match=r"The disk is full.*the same command continues from there"):
            make(cache, source)
    assert litter(cache) == []
    kept = {name for name in contents(cache) if "/shard-" in name}
    assert {name.rsplit("/", 1)[1] for name in kept} == {"shard-00000.safetensors", "shard-00000.json"}
    make(cache, Rounding())
    assert contents(cache) == contents(tmp_path / "alone")


def test_an_interrupt_leaves_the_last_shard_whole_and_no_claim(tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    make(tmp_path / "alone", Rounding())
    cache = tmp_path / "interrupted"
    with pytest.raises(KeyboardInterrupt):
        make(cache, Watched(passes_of_first_shard(tmp_path / "first") + 1, interrupt))
    assert litter(cache) == []
    assert {name.rsplit("/", 1)[1] for name in contents(cache)} >= {"shard-00000.safetensors", "shard-00000.json"}
    assert not any("shard-00001" in name for name in contents(cache))
    make(cache, Rounding())
    assert contents(cache) == contents(tmp_path / "alone")


def test_a_sick_last_shard_is_told(tmp_path: Path) -> None:
    whole = Rounding()
    make(tmp_path / "alone", whole)

    class Sick(Toy):
        def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
            outputs = super().activations(ids, mask, sites)
            if len(self.shapes) == len(whole.shapes):
                outputs[0][:, 1] = float("nan")
            return outputs

    with pytest.raises(ModelError, match="gives NaN or infinite activations at site"):
        make(tmp_path / "sick", Sick())
    assert litter(tmp_path / "sick") == []


def test_only_kept_tokens_leave_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[int] = []
    add = ShardRows.add

    def counted(self: ShardRows, documents: Sequence[int], rows: Sequence[torch.Tensor]) -> None:
        copied.extend(len(some) for some in rows)
        add(self, documents, rows)

    monkeypatch.setattr(ShardRows, "add", counted)
    source = Toy()
    artifacts = make(tmp_path, source)
    stored = sum(artifact.length(k, "rows") for artifact in artifacts.values() for k in range(SHARDS))
    assert sum(copied) == stored < sum(texts * tokens for texts, tokens in source.shapes) * len(artifacts)
    assert len(copied) == len(source.shapes) * len(artifacts), "one copy for each batch and site"
