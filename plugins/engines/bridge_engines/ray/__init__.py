"""The engine `ray`: actors of a Ray cluster, or of a Ray that is started on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

from bridge.engines import Engine, Pool, Work
from bridge.errors import UsageError
from bridge.hookspecs import hookimpl


@final
@dataclass(frozen=True)
class OnRay(Engine):
    """Actors that hold one model each; shards, layer pairs and explanations are their tasks.

    Attributes:
        address: Address of the cluster's head as `HOST:PORT`; `auto` for the cluster that runs on this machine; `local`
            for a Ray that is started here and ends with this process; empty: RAY_ADDRESS if it is set, else the cluster
            of this machine, else a new Ray.
        workers: Maximal number of workers; 0: as many as the cluster has room for.
        cpus: CPUs of a worker. Ray sets the number of threads to it.
        gpus: GPUs of a worker; negative: 1 if the device is a GPU, else 0.
    """

    address: str = ""
    workers: int = 0
    cpus: float = 1.0
    gpus: float = -1.0

    name = "ray"
    summary = "Actors of a Ray cluster (extra `ray`)."

    @contextmanager
    def open(self, work: Work[Any, Any], note: Callable[[str], None]) -> Iterator[Pool]:
        """Connect to the cluster, check its nodes, and yield a pool.

        Raises:
            UsageError: If Ray is not installed, or an option is impossible.
            EngineError: If the cluster cannot be reached, has no room for a worker, or a node's environment or
                store is another one.
        """
        if work.device.startswith("cuda:"):
            raise UsageError(
                f"The engine ray assigns GPUs itself, so the device cannot be {work.device}.",
                remedy="Use --device cuda.",
            )
        if not self.cpus > 0:
            raise UsageError(f"A worker cannot have {self.cpus:g} CPUs.", remedy="Use --engine ray:cpus=1 or more.")
        from bridge_engines.ray.cluster import check_nodes, connect, nodes_with_room, witness_in
        from bridge_engines.ray.pool import RayPool

        gpus = self.gpus if self.gpus >= 0 else float(work.device == "cuda")
        connect(self.address)
        with witness_in(work.folder) as witness:
            nodes = check_nodes(work, nodes_with_room(self.cpus, gpus), witness, note)
            most = sum(node.room for node in nodes.values())
            most = min(most, self.workers or most)
            note(f"{work.name}: up to {most} workers on {len(nodes)} nodes of Ray.")
            pool = RayPool(work, witness, (self.cpus, gpus), most, note)
            try:
                yield pool
            finally:
                pool.close()


@hookimpl
def register_engines(register: Callable[[type[Engine]], None]) -> None:
    """Register the engine."""
    register(OnRay)
