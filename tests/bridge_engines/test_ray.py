"""Ray with a head and two worker nodes of one CPU: the same bits as in one process, also if nodes are killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import pytest

from bridge.engines import Work
from bridge.errors import EngineError, UsageError
from bridge.pipeline.jobs.run import run
from bridge.pipeline.plan.options import make_options
from bridge.progress import Advance, Progress
from bridge_engines.ray import OnRay
from bridge_engines.ray.cluster import connect, look
from nla_files import write_av
from small_plugins import bridge

ray = pytest.importorskip("ray")
ROUNDS = int(os.environ.get("BRIDGE_ROUNDS", "1"))
"""How often nodes are killed; the figures in docs/SCALE.md are from 20."""

SAME = ("metrics.json", "bridge.safetensors", "readings.jsonl")


@final
class Cluster:
    """A head without CPUs, and worker nodes of one CPU."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster as OnOneMachine

        self.inner = OnOneMachine(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.workers: list[Any] = []
        self.complete()

    @property
    def engine(self) -> str:
        return f"ray:address={self.inner.address}"

    def complete(self) -> None:
        """Add nodes until there are two."""
        while len(self.workers) < 2:
            self.workers.append(self.inner.add_node(num_cpus=1))
        self.inner.wait_for_nodes()

    def kill(self) -> None:
        """Kill the processes of a node."""
        self.inner.remove_node(self.workers.pop(0), allow_graceful=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    connect(found.inner.address)
    yield found
    ray.shutdown()
    found.inner.shutdown()


@final
class Watching(Progress):
    """Keeps notes, and calls a function at the first finished unit of some stages, once a stage."""

    def __init__(self, stages: tuple[str, ...] = (), act: Callable[[], None] = lambda: None) -> None:
        self.notes: list[str] = []
        self._stages, self._act = list(stages), act

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        def advance(units: int = 1) -> None:
            if units and self._stages and name.startswith(self._stages[0]):
                self._stages.pop(0)
                self._act()

        yield advance

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def given(tiny_models: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Options of a run of two tiny models on ten shards, with 24 activations read by an AV in twelve calls."""
    av = tmp_path_factory.mktemp("av") / "av"
    write_av(av, "Gemma3ForCausalLM")
    return {
        "src": f"{tiny_models['llama'][0]}@1",
        "dst": f"{tiny_models['gemma'][0]}@1",
        "corpus": "english",
        "max_tokens": 48,
        "src_verbalizer": "logit_lens",
        "dst_verbalizer": f"nla:checkpoint={av},max_new_tokens=3,batch=2",
        "positions": 24,
        "encoder": "lsa",
    }


@final
@dataclass(frozen=True)
class Outcome:
    files: dict[str, bytes]
    shards: dict[str, bytes]


def outcome(given: dict[str, Any], folder: Path, engine: str, progress: Progress) -> Outcome:
    """Run with a store of its own; the engine, which the records name, is struck out."""
    os.environ["BRIDGE_CACHE_DIR"] = str(folder / "store")
    run(make_options(**given, engine=engine), folder / "out", progress)
    files = {name: (folder / "out" / name).read_bytes().replace(engine.encode(), b"ENGINE") for name in SAME}
    kept = sorted((folder / "store").glob("activations/*/*"))
    return Outcome(files, {str(path.relative_to(folder)): path.read_bytes() for path in kept})


@pytest.fixture(scope="module")
def alone(given: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRIDGE_CACHE_DIR", "")
        patch.setenv("BRIDGE_DTYPE", "float32")
        patch.setattr("bridge.pipeline.fit.divided.RUN", 3)
        return outcome(given, tmp_path_factory.mktemp("alone"), "local", Watching())


@pytest.mark.parametrize("number", range(ROUNDS))
def test_same_bits_though_nodes_are_killed(
    number: int,
    cluster: Cluster,
    given: dict[str, Any],
    alone: Outcome,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bridge.pipeline.fit.divided.RUN", 3)
    kills = []

    def kill() -> None:
        kills.append(number)
        cluster.kill()
        cluster.complete()

    watching = Watching(("collect", "explain by"), kill)
    assert outcome(given, tmp_path, cluster.engine, watching) == alone
    assert len(kills) == 2
    assert len(alone.shards) == 2 * (10 * 2 + 1)
    assert sum("up to 2 workers on 2 nodes of Ray" in note for note in watching.notes) == 5
    record = json.loads((tmp_path / "out" / "bridge.json").read_text())
    assert record["provenance"]["options"]["engine"] == cluster.engine
    assert "engine" not in (tmp_path / "out" / "config.toml").read_text()
    assert list((tmp_path / "store").glob(".engine-*")) == []


def test_a_sweep_gives_the_same_numbers(cluster: Cluster, given: dict[str, Any]) -> None:
    cluster.complete()
    flags = [f"--{name}={given[name].replace('@1', '@*')}" for name in ("src", "dst", "corpus")]
    flags += ["--max-tokens=48", "--max-documents=400", "--json"]
    results = []
    for engine in ("local", cluster.engine):
        code, out, err = bridge("sweep", *flags, "--engine", engine)
        assert code == 0, err
        results.append(json.loads(out)["metrics"])
    assert results[0] == results[1]


Worker = AbstractContextManager[Any]


def work(folder: Path, elsewhere: Callable[[], Worker], **changes: Any) -> Work[int, int]:
    versions = {"residual-bridge": version("residual-bridge")}
    described = {"name": "count", "here": elsewhere, "elsewhere": elsewhere, "device": "cpu", "folder": folder}
    return Work(**described | {"versions": versions, "variables": {"NUMBER_OF_THE_TEST": "7"}} | changes)


def number() -> Worker:
    return nullcontext(lambda item: item + int(os.environ["NUMBER_OF_THE_TEST"]))


def fatal() -> Worker:
    return nullcontext(lambda item: os.kill(os.getpid(), signal.SIGKILL) if item == 1 else item)


def unopened() -> Worker:
    raise UsageError("There is no model here.", cause="It is elsewhere.", remedy="Fetch it.")


def opened(folder: Path, engine: OnRay, elsewhere: Any = number, **changes: Any) -> list[tuple[int, int]]:
    # By value: nodes do not have this file.
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    with engine.open(work(folder, elsewhere, **changes), lambda _: None) as pool:
        return sorted(pool.run([0, 1, 2]))


def test_workers_get_what_they_need(cluster: Cluster, tmp_path: Path) -> None:
    cluster.complete()
    assert opened(tmp_path, OnRay()) == [(0, 7), (1, 8), (2, 9)]


def test_what_is_refused_before_work_begins(cluster: Cluster, tmp_path: Path) -> None:
    cluster.complete()
    with pytest.raises(EngineError, match=r"2 of 2 nodes.* has residual-bridge \S+ \(here 0.0.1\)"):
        opened(tmp_path, OnRay(), versions={"residual-bridge": "0.0.1"})
    with pytest.raises(EngineError, match="lacks bridge-of-a-stranger"):
        opened(tmp_path, OnRay(), versions={"bridge-of-a-stranger": "1.0"})
    with pytest.raises(EngineError, match=r"No node .* with 2 CPUs and 0 GPUs"):
        opened(tmp_path, OnRay(cpus=2))
    with pytest.raises(EngineError, match=r"with 1 CPUs and 1 GPUs .*0 GPUs"):
        opened(tmp_path, OnRay(), device="cuda")
    with pytest.raises(UsageError, match="Use --device cuda"):
        opened(tmp_path, OnRay(), device="cuda:1")
    with pytest.raises(EngineError, match=f"connected to the Ray cluster {cluster.inner.address}, not to"):
        opened(tmp_path, OnRay(address="127.0.0.1:1"))


def test_a_store_that_is_not_shared_is_named(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    seen.touch()
    assert look()({}, str(seen)) == ""
    assert look()({}, str(tmp_path / "absent")) == f"does not see the store {tmp_path} of this process"


def test_a_worker_that_cannot_open_says_why(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        opened(tmp_path, OnRay(), unopened)
    assert (refused.value.cause, refused.value.remedy) == ("It is elsewhere.", "Fetch it.")


def test_an_item_that_ends_its_workers_is_named(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="count: item 2 ended 4 workers one after the other"):
        opened(tmp_path, OnRay(), fatal)


def test_no_cluster(given: dict[str, Any], tmp_path: Path) -> None:
    ray.shutdown()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    flags = [f"--{name}={given[name]}" for name in ("src", "dst", "corpus")] + [f"--out={tmp_path / 'out'}"]
    code, _, err = bridge("fit", *flags, "--max-tokens=48", "--engine", f"ray:address=127.0.0.1:{port}")
    assert code == 1, err
    said = " ".join(err.split())
    assert f"The Ray cluster 127.0.0.1:{port} does not answer" in said
    assert "ray start --head" in said
    code, _, err = bridge("fit", *flags, "--engine", "rey")
    assert code == 2
    assert "There is no engine rey. Did you mean ray?" in " ".join(err.split())
