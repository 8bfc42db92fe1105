"""Filling the artifacts of one model with the workers of a pool, which divide the shards and wait for each other."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import final

from bridge.claims import STALE_SECONDS
from bridge.collect.activations import ActivationSource, CollectSettings
from bridge.collect.parts import Part, numbers, told
from bridge.collect.worker import Collector
from bridge.corpus.documents import Corpus
from bridge.engines import Pool, in_turn
from bridge.errors import EngineError, StoreError
from bridge.pairing.align import Encoder
from bridge.progress import Progress
from bridge.references import Site
from bridge.store import Artifact
from bridge.waiting import AGAIN_SECONDS

Opener = Callable[[], AbstractContextManager[Callable[[tuple[int, bool]], str]]]
"""Opens a worker: a function as `Collector.work`, within a context."""

POLL_SECONDS = 0.5
"""Time between two looks at shards that other workers make."""

WRITTEN_SECONDS = 5.0
"""Time for the files of the last shards, before workers are asked for them again."""

APPEARS_SECONDS = 120.0
"""Time after which a shard must be in the store; NFS shows new files up to a minute late."""


def collect(
    load: Callable[[], ActivationSource],
    name: str,
    artifacts: Mapping[Site, Artifact],
    corpus: Corpus,
    settings: CollectSettings,
    progress: Progress,
    encoder: Encoder | None = None,
    part: Part | None = None,
    pool: Callable[[Opener], AbstractContextManager[Pool]] = in_turn,
) -> None:
    """Fill the artifacts of one model's sites; workers load the model only if they make a shard.

    Workers that need the same shards divide them and then wait for each other. A worker that is interrupted loses the
    shard that it was making, which another worker or the next command makes, with the same bits.

    Args:
        load: Loads the model in this process.
        name: Name of the model in progress and errors.
        artifacts: The artifact of each site.
        corpus: The texts.
        settings: The settings of the forward passes.
        progress: Receives every finished batch or shard, and whom this process waits for.
        encoder: Tokenises the texts; default: the model itself.
        part: Collect only the shards of this part; default: all.
        pool: Opens the workers, given what opens a worker in this process; default: one worker in this process.
            Workers work as `Collector.work`.

    Raises:
        ModelError: If an activation is NaN or infinite.
        StoreError: If the disk is full or read-only.
        EngineError: If workers cannot be had, or do not share the store.
    """
    with contextlib.ExitStack() as opened:
        bar = _Bar(lambda: opened.enter_context(progress.stage(f"collect {name}", texts, "texts")))

        def load_before_the_bar() -> ActivationSource:
            source = load()  # shows its own progress
            bar.open()
            return source

        collector = Collector(load_before_the_bar, artifacts, corpus, settings, encoder)
        total = len(collector.chunks)
        wanted = part.shards(total) if part else range(total)
        lacking = {index: sites for index in wanted if (sites := collector.lacking(index))}
        texts = sum(len(collector.chunks[index]) for index in lacking)
        found = [site for site in artifacts if not any(site in sites for sites in lacking.values())]
        for site in found:
            with contextlib.suppress(StoreError):  # a read-only cache is still useful
                artifacts[site].describe()
        if found:
            progress.note(f"{name}: activations at {', '.join(map(str, found))} are in the cache.")
        if part:
            for artifact in artifacts.values():
                part.sign(artifact)
        elif lacking:
            for sentence in told(list(artifacts.values()), total):
                progress.note(f"{name}: {sentence}")
        if lacking:

            def opener() -> AbstractContextManager[Callable[[tuple[int, bool]], str]]:
                return nullcontext(lambda item: collector.work(item, partial(bar.advance, item[0])))

            try:
                _collect_all(collector, opened.enter_context(pool(opener)), list(lacking), name, progress, bar)
            finally:
                collector.finish()
    if halved := collector.halved():
        progress.note(
            f"{name}: memory ran out in {len(halved)} of {total} shards ({numbers(halved)}), and batches were halved. "
            "The last bits of their rows may differ from those of a machine with more memory; a --batch-size that fits "
            "gives the same bits everywhere."
        )


def _collect_all(
    collector: Collector, pool: Pool, pending: list[int], name: str, progress: Progress, bar: _Bar
) -> None:
    told_at: dict[str, float] = {}
    begun: set[int] = set()
    # When a worker first said that the files of a shard are written; one that only began it may have died since.
    written: dict[int, float] = {}
    while pending:
        busy: dict[int, str] = {}
        items = [(index, index in begun) for index in pending]
        for item, holder in pool.run(items):
            index, waited = items[item]
            if holder:
                busy[index] = holder
                continue
            begun.add(index)
            if waited:
                written.setdefault(index, time.monotonic())
            _stored(collector, begun, bar)
        collector.finish()
        # A worker elsewhere still writes the shard that it began last.
        end = time.monotonic() + WRITTEN_SECONDS
        while _stored(collector, begun, bar) and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 10)
        _need_shared_store({index: since for index, since in written.items() if index in begun}, name)
        if len(busy) == len(pending):
            now = time.monotonic()
            for holder in {one for one in busy.values() if now - told_at.get(one, -AGAIN_SECONDS) >= AGAIN_SECONDS}:
                told_at[holder] = now
                theirs = numbers(index for index, other in busy.items() if other == holder)
                progress.note(
                    f"{name}: waiting for {holder}, which is making shard {theirs}. If it does not answer for "
                    f"{STALE_SECONDS:.0f} s, this process takes over."
                )
            time.sleep(POLL_SECONDS)
        pending = [*busy, *sorted(begun - busy.keys())]


def _stored(collector: Collector, begun: set[int], bar: _Bar) -> bool:
    """Strike out the shards that are in the store now, and tell whether some are not."""
    for index in [index for index in begun if not collector.lacking(index)]:
        begun.remove(index)
        bar.finish(index, len(collector.chunks[index]))
    return bool(begun)


def _need_shared_store(written: Mapping[int, float], name: str) -> None:
    """Refuse to wait longer for a shard that a worker has written, and that is not in the store of this process.

    Raises:
        EngineError: If it did not appear within `APPEARS_SECONDS`.
    """
    late = [index for index, since in written.items() if time.monotonic() - since > APPEARS_SECONDS]
    if late:
        raise EngineError(
            f"{name}: workers have made shard {numbers(late)}, which is not in the store of this process.",
            cause="The workers' store is another folder, or the shared file system lost the files.",
            remedy="BRIDGE_CACHE_DIR must name one folder that all machines share.",
        )


@final
class _Bar:
    """Counts finished texts, also before its stage is open: a worker here opens it after loading the model.

    Args:
        stage: Opens the stage.
    """

    def __init__(self, stage: Callable[[], Callable[[int], None]]) -> None:
        self._stage = stage
        self._early = 0
        self._advance: Callable[[int], None] | None = None
        self._of: Counter[int] = Counter()

    def open(self) -> None:
        if self._advance is None:
            self._advance = self._stage()
            self._advance(self._early)

    def advance(self, index: int, texts: int) -> None:
        """Count some texts of a shard."""
        self._of[index] += texts
        if self._advance is None:
            self._early += texts
        else:
            self._advance(texts)

    def finish(self, index: int, texts: int) -> None:
        """Count the rest of a shard: workers elsewhere report only whole shards."""
        if rest := texts - self._of[index]:
            self.open()
            self.advance(index, rest)
