"""Several workers fill one artifact: the bits are those of one worker, whatever happens to the others."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from bridge.collect import Collector, Part, collect
from bridge.collect import activations as collecting
from bridge.collect.fill import Opener
from bridge.engines import Pool
from bridge.errors import EngineError, StoreError, UsageError
from bridge.progress import Silent
from bridge.references import Site
from toy_collection import CHUNK, CORPUS, STALE, Notes, Order, Rounding, Worker, artifacts_in, contents, make

SHARDS = len(CORPUS.chunks(CHUNK))


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.corpus.shards.SHARD_CHARACTERS", CHUNK)
    monkeypatch.setattr(collecting, "TOKENS_PER_BATCH", {"cpu": 512})


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, bytes]:
    """What one worker makes."""
    make(tmp_path / "alone", Rounding())
    return contents(tmp_path / "alone")


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    """Workers that end with the test."""
    running: list[Worker] = []
    yield running
    for one in running:
        one.stop()


def test_four_workers_divide_the_shards(tmp_path: Path, alone: dict[str, bytes], workers: list[Worker]) -> None:
    whole = Rounding()
    make(tmp_path / "counted", whole)
    workers += [Worker(Order(tmp_path / "shared", delay=0.1)) for _ in range(4)]
    for one in workers:
        one.go()
    results = [one.end() for one in workers]
    assert contents(tmp_path / "shared") == alone
    passes = [passes for passes, _, _ in results]
    assert sum(passes) == len(whole.shapes), "no shard is made twice"
    assert min(passes) > 0
    for _, notes, error in results:
        assert error == ""
        assert f"collect toy: {len(CORPUS.documents)} of {len(CORPUS.documents)} texts" in notes, "progress of all"


def test_the_shard_of_a_killed_worker_is_taken_over_at_once(
    tmp_path: Path, alone: dict[str, bytes], workers: list[Worker]
) -> None:
    cache = tmp_path / "shared"
    victim, *others = workers[:] = [Worker(Order(cache, halt=2)), *(Worker(Order(cache)) for _ in range(2))]
    victim.go()
    assert victim.hear() == "halted"
    for one in others:
        one.go()
    for one in others:
        while f"waiting for process {victim.process.pid} on " not in one.hear():
            pass
    start = time.monotonic()
    victim.stop()
    results = [one.end() for one in others]
    assert time.monotonic() - start < STALE, "not because the claim is stale"
    assert contents(cache) == alone
    assert [error for _, _, error in results] == ["", ""]


@pytest.mark.parametrize("exchanges", [True, False], ids=["local", "network"])
def test_a_machine_that_does_not_answer_is_replaced_and_does_no_harm_later(
    tmp_path: Path, alone: dict[str, bytes], workers: list[Worker], monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    if not exchanges:  # as NFS and SMB refuse it
        monkeypatch.setattr("filelock._soft.exchange_names", lambda *_: False, raising=False)
    cache = tmp_path / "shared"
    monkeypatch.setattr("bridge.claims.STALE_SECONDS", 3.0)
    frozen = Worker(Order(cache, halt=2, stale=3.0))
    workers.append(frozen)
    frozen.go()
    assert frozen.hear() == "halted"
    while len(both := [index for index in range(SHARDS) if list(cache.rglob(f".shard-{index:05d}.claim"))]) > 1:
        time.sleep(0.05)  # the shard before is still being written
    (held,) = both
    artifacts, settings = artifacts_in(cache)
    collector, start = Collector(Rounding, artifacts, CORPUS, settings), time.monotonic()
    while exchanges and time.monotonic() - start < 4:
        assert collector.collect_shard(held), "whoever lives is waited for"
        time.sleep(0.1)
    assert frozen.process.pid is not None
    os.kill(frozen.process.pid, signal.SIGSTOP)
    notes, start = Notes(), time.monotonic()
    make(cache, Rounding(), progress=notes)
    assert time.monotonic() - start >= 3
    assert f"waiting for process {frozen.process.pid} on " in " ".join(notes.notes)
    assert contents(cache) == alone
    os.kill(frozen.process.pid, signal.SIGCONT)
    frozen.go()
    passes, _, error = frozen.end()
    assert (passes > 2, error) == (True, "")
    assert contents(cache) == alone


def test_a_worker_that_is_short_of_memory_changes_no_bit_of_the_shards_of_others(
    tmp_path: Path, alone: dict[str, bytes], workers: list[Worker]
) -> None:
    make(tmp_path / "short", Rounding(room=200))
    short = contents(tmp_path / "short")
    workers += [Worker(Order(tmp_path / "shared", room=room, delay=0.1)) for room in (None, 200)]
    for one in workers:
        one.go()
    results = [one.end() for one in workers]
    shared = contents(tmp_path / "shared")
    assert shared.keys() == alone.keys() == short.keys()
    origins = {}
    for name in (name for name in shared if "/shard-" in name):
        assert shared[name] in (alone[name], short[name])
        origins[name] = shared[name] == alone[name]
    assert set(origins.values()) == {True, False}, "each has made some"
    halved = {name for name in origins if name.endswith(".json") and b'"halved": 0' not in shared[name]}
    assert halved == {name for name, roomy in origins.items() if name.endswith(".json") and not roomy}
    for _, notes, _ in results:
        assert f"memory ran out in {len(halved) // 2} of {SHARDS} shards" in notes[-1], "whoever made them"


def test_a_full_disk_stops_one_worker_and_loses_nothing(
    tmp_path: Path, alone: dict[str, bytes], workers: list[Worker]
) -> None:
    cache = tmp_path / "shared"
    workers += [Worker(Order(cache, full=4, delay=0.1)), Worker(Order(cache, delay=0.1))]
    for one in workers:
        one.go()
    (_, _, full), (_, _, error) = (one.end() for one in workers)
    assert "The disk is full." in full
    assert "finished work is kept, and the same command continues" in full
    assert error == ""
    assert contents(cache) == alone
    again = Rounding()
    make(cache, again)
    assert again.shapes == []


def test_a_store_that_may_only_be_read_is_read_and_what_it_lacks_is_an_error_before_the_model_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, Rounding())

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.SoftFileLease.acquire", refuse)
    idle = Rounding()
    artifacts = make(tmp_path, idle)
    (artifacts[Site(1)].path / "shard-00001.json").unlink()
    with pytest.raises(StoreError, match=r"The file system is read-only\."):
        make(tmp_path, idle)
    assert idle.shapes == []


def test_a_shard_is_the_unit_of_work(tmp_path: Path, alone: dict[str, bytes], workers: list[Worker]) -> None:
    cache = tmp_path / "shared"
    other = Worker(Order(cache, halt=0))
    workers.append(other)
    other.go()
    assert other.hear() == "halted"
    artifacts, settings = artifacts_in(cache)
    loaded: list[Rounding] = []

    def load() -> Rounding:
        loaded.append(Rounding())
        return loaded[-1]

    collector, texts = Collector(load, artifacts, CORPUS, settings), [0]
    assert collector.collect_shard(0).startswith(f"process {other.process.pid} on ")
    assert loaded == [], "nothing is loaded to wait"
    for index in reversed(range(1, SHARDS)):
        assert collector.collect_shard(index, texts.append) == ""
    assert len(loaded) == 1
    other.stop()
    start = time.monotonic()
    while collector.collect_shard(0, texts.append):  # filelock before 4.2 needs a second look
        assert time.monotonic() - start < 30
    assert collector.collect_shard(0) == "", "it is there"
    assert sum(texts) == len(CORPUS.documents)
    assert contents(cache) == alone


@pytest.mark.parametrize("count", [1, 2, 3, 99])
def test_parts_make_the_whole_and_the_rest_is_told(tmp_path: Path, alone: dict[str, bytes], count: int) -> None:
    first, *rest = (Part.parse(f"{number}/{count}") for number in range(1, count + 1))
    cache = tmp_path / "shared"
    make(cache, Rounding(), part=first)
    made = {name for name in contents(cache) if name.endswith(".safetensors")}
    assert len(made) == 2 * len(range(0, SHARDS, count))
    if 1 < count < SHARDS:
        notes = Notes()
        store = tmp_path / "elsewhere"
        make(store, Rounding(), part=rest[0])  # a folder that is not shared
        make(store, Rounding(), progress=notes)
        absent = ",".join(str(number) for number in range(1, count + 1) if number != 2)
        told = " ".join(notes.notes)
        assert f"Parts {absent} of {count} left nothing in {store}" in told
        assert "their store is another folder (BRIDGE_CACHE_DIR" in told
        assert contents(store) == alone, "and what is missing is collected"
    for part in rest[:SHARDS]:
        make(cache, Rounding(), part=part)
    idle, notes = Rounding(), Notes()
    make(cache, idle, progress=notes)
    assert idle.shapes == []
    assert notes.notes == ["toy: activations at 1, 0.mlp_out are in the cache."]
    assert contents(cache) == alone


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/", "-1/4", "1/4/2", "a/b", "١/٤", ""])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not a part I/N"):
        Part.parse(text)


def test_a_part_that_died_is_named_with_its_machine(tmp_path: Path, alone: dict[str, bytes]) -> None:
    artifacts = make(tmp_path / "shared", Rounding(), part=Part(2, 3))
    (artifacts[Site(1)].path / "shard-00001.json").unlink()
    (artifacts[Site(1)].path / "part-3-of-3.json").write_text("torn")
    notes = Notes()
    make(tmp_path / "shared", Rounding(), progress=notes)
    told = " ".join(notes.notes)
    assert "Parts 2 of 3 began (on " in told
    assert "and are not finished" in told
    assert "Parts 1,3 of 3 left nothing" in told
    assert contents(tmp_path / "shared") == alone


@pytest.mark.parametrize("dies", [True, False], ids=["it died", "its store is another folder"])
def test_a_shard_that_was_begun_and_is_not_there(dies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that died costs its shard, however long ago that was; a store that is not shared is refused."""
    monkeypatch.setattr("bridge.collect.fill.APPEARS_SECONDS", 0.0)
    monkeypatch.setattr("bridge.collect.fill.WRITTEN_SECONDS", 0.0)
    make(tmp_path / "alone", Rounding())
    artifacts, settings = artifacts_in(tmp_path / "cache")
    asked: list[tuple[int, bool]] = []

    class Losing(Pool):
        def __init__(self, work: Callable[[tuple[int, bool]], str]) -> None:
            self.work = work

        def run(self, items: Sequence[tuple[int, bool]]) -> Iterator[tuple[int, str]]:
            asked.extend(items)
            for number, (index, waits) in enumerate(items):
                lost = index == 1 and not (waits and dies)
                yield number, "" if lost else self.work((index, waits))

    @contextlib.contextmanager
    def pool(here: Opener) -> Iterator[Pool]:
        with here() as work:
            yield Losing(work)

    def fill() -> None:
        collect(Rounding, "toy", artifacts, CORPUS, settings, Silent(), pool=pool)

    if dies:
        fill()
        assert contents(tmp_path / "cache") == contents(tmp_path / "alone")
    else:
        with pytest.raises(EngineError, match="workers have made shard 1, which is not in the store of this process"):
            fill()
    assert asked[-1] == (1, True)
