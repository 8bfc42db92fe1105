"""A toy model and corpus for tests of collection, and workers that collect in processes of their own."""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from bridge import claims
from bridge.collect import CollectSettings, Part, activations_artifact, collect
from bridge.collect import activations as collecting
from bridge.corpus import Corpus, Document, shards
from bridge.errors import BridgeError
from bridge.pairing import Encoded
from bridge.progress import Advance, Progress, Silent
from bridge.references import Site
from bridge.store import Artifact, Store

D = 16
SITES = (Site(1), Site(0, "mlp_out"))
CHUNK = 400


STALE = 120.0


def small(stale: float = STALE) -> None:
    """Make shards and batches of this process small, and claims stale after some seconds."""
    shards.SHARD_CHARACTERS, collecting.TOKENS_PER_BATCH, claims.STALE_SECONDS = CHUNK, {"cpu": 512}, stale


class Toy:
    """A causal "model": running sums of a token embedding, shifted by site; a character is a token, after one BOS."""

    name = "toy"
    d_model = D

    def __init__(self, room: int | None = None, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.room, self.error = room, error
        self.shapes: list[tuple[int, int]] = []
        table = torch.randn((400, D), generator=torch.Generator().manual_seed(0))
        # Sums of integers are exact in any order, so that equal rows are equal bits.
        self.table = (table * 8).round()

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        encoded = []
        for document in documents:
            ids = np.array([1, *(ord(c) % 400 for c in document.text)])[:max_tokens]
            ends = np.arange(len(ids))
            ends[0] = -1
            encoded.append(Encoded(ids, ends))
        return encoded

    def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
        if self.room is not None and ids.numel() > self.room:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate too much")
        self.shapes.append(tuple(ids.shape))
        assert ((ids > 0) == (mask > 0)).all(), "padding is on the right, and masked"
        sums = self.table[ids].cumsum(1)
        return [sums + site.layer for site in sites]


class Rounding(Toy):
    """A model whose last bits depend on the batch, as those of real kernels may."""

    def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
        return [output + ids.numel() / 1024 for output in super().activations(ids, mask, sites)]


def make_corpus() -> Corpus:
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(1, 90, 45).tolist(), 300]
    return Corpus("toy", tuple(Document(chr(97 + i % 26) * n + str(i), str(i)) for i, n in enumerate(lengths)))


CORPUS = make_corpus()


def artifacts_in(
    cache: Path, dtype: str = "float32", batch: int | None = None, cut: int = 160
) -> tuple[dict[Site, Artifact], CollectSettings]:
    settings = CollectSettings(dtype, cut, batch)
    return {site: activations_artifact(Store(cache), "toy", site, CORPUS, settings) for site in SITES}, settings


def make(
    cache: Path,
    source: Toy,
    dtype: str = "float32",
    batch: int | None = None,
    cut: int = 160,
    progress: Progress | None = None,
    part: Part | None = None,
) -> dict[Site, Artifact]:
    artifacts, settings = artifacts_in(cache, dtype, batch, cut)
    collect(lambda: source, "toy", artifacts, CORPUS, settings, progress or Silent(), part=part)
    return artifacts


def contents(cache: Path) -> dict[str, bytes]:
    """Every file of a store, records of parts aside."""
    files = (path for path in cache.rglob("*") if path.is_file() and not path.name.startswith("part-"))
    return {str(path.relative_to(cache)): path.read_bytes() for path in files}


class Notes(Progress):
    """Keeps what a user would read."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    @contextlib.contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        done: list[int] = []
        yield lambda units=1: done.append(units)
        self.notes.append(f"{name}: {sum(done)} of {total} {unit}")

    def note(self, message: str) -> None:
        self.notes.append(message)


@dataclass(frozen=True)
class Order:
    """What a worker is to do.

    Attributes:
        cache: The store.
        room: Padded tokens that fit into its memory.
        delay: Seconds of every forward pass.
        halt: Number of the forward pass in which it stops until it is told to go on.
        full: Number of files after which its disk is full.
        stale: Seconds after which a claim is stale.
    """

    cache: Path
    room: int | None = None
    delay: float = 0.0
    halt: int | None = None
    full: int | None = None
    stale: float = STALE


class Worker:
    """A process that collects when it is told to."""

    def __init__(self, order: Order) -> None:
        # Of the ways to start a process, this one imports torch once for all workers.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["bridge.collect", "safetensors.torch", "filelock"])
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(target=_work, args=(order, theirs))
        self.process.start()
        theirs.close()
        assert self.hear() == "ready"

    def go(self) -> None:
        self.pipe.send("go")

    def hear(self) -> Any:
        assert self.pipe.poll(100), "the worker does not answer"
        return self.pipe.recv()

    def end(self) -> tuple[int, list[str], str]:
        """Return the number of forward passes, the notes, and the error."""
        while isinstance(heard := self.hear(), str):
            pass
        self.stop()
        passes, notes, error = heard
        return passes, notes, error

    def stop(self) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()


def fill_up(files: int, patch: Callable[..., None] = setattr, code: int = errno.ENOSPC) -> None:
    """Let the disk be full, or fail otherwise, in the middle of a file, after this many files."""
    left, opened = iter(range(files)), Path.open

    def open_some(self: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        file = opened(self, mode, *args, **kwargs)
        if mode != "wb" or next(left, None) is not None:
            return file

        def write_half(pieces: Sequence[bytes | memoryview]) -> None:
            file.write(pieces[-1][: len(pieces[-1]) // 2])
            raise OSError(code, os.strerror(code))

        half = contextlib.closing(SimpleNamespace(close=file.close))
        half.thing.writelines = write_half
        return half

    patch(Path, "open", open_some)


def _work(order: Order, pipe: Connection) -> None:
    small(order.stale)

    class Ordered(Rounding):
        def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
            time.sleep(order.delay)
            if len(self.shapes) == order.halt:
                pipe.send("halted")
                pipe.recv()
            return super().activations(ids, mask, sites)

    if order.full is not None:
        fill_up(order.full)

    class Heard(Notes):
        def note(self, message: str) -> None:
            super().note(message)
            if "waiting for" in message:
                pipe.send(message)

    toy, notes, error = Ordered(order.room), Heard(), ""
    pipe.send("ready")
    pipe.recv()
    try:
        make(order.cache, toy, progress=notes)
    except BridgeError as raised:
        error = str(raised)
    pipe.send((len(toy.shapes), notes.notes, error))
