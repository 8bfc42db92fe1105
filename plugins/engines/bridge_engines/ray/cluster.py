"""The cluster: connecting to it, and checking every node before work begins."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bridge.engines import Work
from bridge.errors import EngineError, StoreError, UsageError

CONNECT_SECONDS = 5.0
"""Time for a first answer of the head, before Ray itself tries, which takes minutes to give up."""

PROBE_SECONDS = 120.0
"""Time for all nodes to answer; a node starts a Python process for it."""

MANY = 8


def connect(address: str) -> None:
    """Connect to a cluster, or start a Ray on this machine; an existing connection of this process is used.

    Raises:
        UsageError: If Ray is not installed.
        EngineError: If the cluster cannot be reached, or this process is connected to another one.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "The engine ray needs the package ray.", remedy="Run `pip install 'residual-bridge[ray]'`."
        ) from error
    if ray.is_initialized():
        current = ray.get_runtime_context().gcs_address
        if address not in ("", "auto", "local", current):
            raise EngineError(
                f"This process is connected to the Ray cluster {current}, not to {address}.",
                remedy="Call ray.shutdown() before, or leave the address out.",
            )
        return
    _need_answer(address)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address=address or None, **quiet)
    except Exception as error:  # Ray raises errors of many kinds, also for a head of another version
        raise EngineError(
            f"There is no connection to the Ray cluster {address or '(RAY_ADDRESS, or a new one on this machine)'}: "
            f"{first_line(error)}",
            cause="No head node runs there, its Ray or Python has another version, or this machine has no memory left.",
            remedy="Start a head with `ray start --head`, give --engine ray:address=HOST:6379, or use --engine local.",
        ) from error


def _need_answer(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"The Ray cluster {address} does not answer ({error}).",
            cause="No head node runs there, or a firewall is between.",
            remedy="Start it with `ray start --head`, or correct --engine ray:address=HOST:6379.",
        ) from error


@final
@dataclass(frozen=True)
class Node:
    """A node of the cluster.

    Attributes:
        name: Its host name.
        room: How many workers it has room for, if nothing else runs there.
    """

    name: str
    room: int


def nodes_with_room(cpus: float, gpus: float) -> dict[str, Node]:
    """Return the nodes that have room for a worker, by Ray's id.

    Raises:
        EngineError: If there is none.
    """
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    found = {}
    for node in alive:
        there = node["Resources"]
        count = int(min(there.get("CPU", 0.0) / cpus, there.get("GPU", 0.0) / gpus if gpus else float("inf")))
        if count:
            found[node["NodeID"]] = Node(node["NodeManagerHostname"], count)
    if not found:
        listed = "; ".join(
            f"{node['NodeManagerHostname']}: {node['Resources'].get('CPU', 0):g} CPUs, "
            f"{node['Resources'].get('GPU', 0):g} GPUs"
            for node in alive[:MANY]
        )
        raise EngineError(
            f"No node of the Ray cluster has room for a worker with {cpus:g} CPUs and {gpus:g} GPUs ({listed}).",
            remedy="Use --engine ray:cpus=1,gpus=0, --device cpu, or add nodes.",
        )
    return found


def check_nodes(
    work: Work[Any, Any], nodes: Mapping[str, Node], witness: Path, note: Callable[[str], None]
) -> dict[str, Node]:
    """Refuse a cluster with a node that has other versions of bridge or plugins, or another store.

    Args:
        work: The work.
        nodes: The nodes that may get workers, by Ray's id.
        witness: A file in the store, which every node must see.
        note: Receives the names of nodes that do not answer: they have stopped, or will be left by their workers.

    Returns:
        The nodes that answered.

    Raises:
        EngineError: Naming the nodes and what they lack, or if none answers.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    probe = ray.remote(num_cpus=0, max_retries=0)(look())
    faults: dict[str, str] = {}
    answered, silent = {}, []
    asked = {
        probe.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            dict(work.versions), str(witness)
        ): node
        for node in nodes
    }
    ray.wait(list(asked), num_returns=len(asked), timeout=PROBE_SECONDS)
    for answer, node in asked.items():
        try:
            fault = ray.get(answer, timeout=0)
        except ray.exceptions.RayError as error:
            silent.append(f"{nodes[node].name} ({first_line(error)})")
            continue
        answered[node] = nodes[node]
        if fault:
            faults[node] = f"{nodes[node].name} {fault}"
    if faults:
        listed = sorted(set(faults.values()))
        more = f"; and {len(listed) - MANY} more" if len(listed) > MANY else ""
        raise EngineError(
            f"{len(faults)} of {len(nodes)} nodes cannot work: {'; '.join(listed[:MANY])}{more}.",
            cause="Every node needs the same packages as this process, and one folder that all nodes share.",
            remedy="Install the same versions there, and set BRIDGE_CACHE_DIR to a shared folder; or take the nodes "
            "out of the cluster.",
        )
    if silent and not answered:
        raise EngineError(
            f"No node of the Ray cluster answers within {PROBE_SECONDS:.0f} s: {'; '.join(silent[:MANY])}.",
            remedy="See `ray status`.",
        )
    if silent:
        note(f"{len(silent)} nodes of Ray do not answer, and are left out: {'; '.join(silent[:MANY])}.")
    return answered


@contextlib.contextmanager
def witness_in(folder: Path) -> Iterator[Path]:
    """Make a file in the store whose presence shows that a node sees the same folder, and delete it at the end.

    Raises:
        StoreError: If the store cannot be written.
    """
    witness = folder / f".engine-{uuid.uuid4().hex}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        witness.touch()
    except OSError as error:
        raise StoreError(f"{folder} cannot be written ({error.strerror}).", remedy="Set BRIDGE_CACHE_DIR.") from error
    try:
        yield witness
    finally:
        witness.unlink(missing_ok=True)


def look() -> Callable[[dict[str, str], str], str]:
    """Return a function that names what a node lacks; it is copied to nodes by value, and needs no bridge there."""

    def look(versions: dict[str, str], witness: str) -> str:
        """Return what this node lacks, or an empty text."""
        import os
        import time
        from importlib import metadata

        def found(name: str) -> str:
            try:
                return metadata.version(name)
            except metadata.PackageNotFoundError:
                return ""

        other = {name: there for name, wanted in versions.items() if (there := found(name)) != wanted}
        lacks = ", ".join(name for name, there in other.items() if not there)
        differs = ", ".join(f"{name} {there} (here {versions[name]})" for name, there in other.items() if there)
        if other:
            said = (f"lacks {lacks}" if lacks else "", f"has {differs}" if differs else "")
            return " and ".join(part for part in said if part)
        for _ in range(10):  # a network file system shows new files late
            if os.path.exists(witness):  # noqa: PTH110  (this function has nothing but the file's name)
                return ""
            time.sleep(0.5)
        return f"does not see the store {os.path.dirname(witness)} of this process"  # noqa: PTH120

    return look


def first_line(error: BaseException) -> str:
    """Return the beginning of an error of Ray, whose texts are long and coloured."""
    from click import unstyle

    return (unstyle(str(error)).strip() or type(error).__name__).splitlines()[0][:200]
