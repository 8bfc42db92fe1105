"""Workers that fill the artifacts of one model together, shard by shard."""

from __future__ import annotations

import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import final

from bridge.claims import STALE_SECONDS, Claim
from bridge.collect.activations import ActivationSource, CollectSettings
from bridge.collect.forward import ShardPasses
from bridge.collect.memory import Room
from bridge.collect.parts import Part, numbers, told
from bridge.collect.writer import ShardWriter
from bridge.corpus.documents import Corpus
from bridge.corpus.shards import shards
from bridge.engines import Pool, in_turn
from bridge.errors import EngineError
from bridge.pairing.align import Encoder
from bridge.progress import Progress
from bridge.references import Site
from bridge.store import Artifact

Opener = Callable[[], AbstractContextManager[Callable[[tuple[int, bool]], str]]]
"""Opens a worker: a function as `Collector.work`, within a context."""

POLL_SECONDS = 0.5
"""Time between two looks at shards that other workers make."""

WRITTEN_SECONDS = 5.0
"""Time for the files of the last shards, before workers are asked for them again."""

APPEARS_SECONDS = 120.0
"""Time after which a shard must be in the store; NFS shows new files up to a minute late."""


@final
class Collector:
    """One worker's view of the artifacts of one model's sites. The unit of work is `collect_shard`.

    `begin_shard` overlaps the writing of each shard with the forward passes of the next one, and needs `finish` at the
    end.

    Any number of workers, in processes and on machines that share the store, may collect the same artifacts. Which
    worker makes a shard, and in which order, has no influence on its bits.

    Args:
        load: Loads the model; called once, when this worker makes its first shard.
        artifacts: The artifact of each site.
        corpus: The texts.
        settings: The settings of the forward passes.
        encoder: Tokenises the texts; default: the model itself.
    """

    def __init__(
        self,
        load: Callable[[], ActivationSource],
        artifacts: Mapping[Site, Artifact],
        corpus: Corpus,
        settings: CollectSettings,
        encoder: Encoder | None = None,
    ) -> None:
        self.artifacts = artifacts
        self.corpus = corpus
        self.settings = settings
        self.chunks = shards(corpus, settings.max_tokens)
        self._source = functools.cache(load)
        self._encoder = encoder
        self._room = Room()
        self._claims: dict[tuple[Path, int], Claim] = {}
        self._complete: set[tuple[Site, int]] = set()
        self._writer: ShardWriter | None = None

    def lacking(self, index: int) -> list[Site]:
        """Return the sites whose artifact does not hold a shard, in the model's order.

        Args:
            index: Number of the shard.
        """
        rows = functools.cache(lambda: self._rows(index))
        for site, artifact in self.artifacts.items():
            if (site, index) not in self._complete and _holds(artifact, index, rows):
                self._complete.add((site, index))
        sites = (site for site in self.artifacts if (site, index) not in self._complete)
        return sorted(sites, key=lambda site: site.order)

    def collect_shard(self, index: int, advance: Callable[[int], None] = lambda _: None) -> str:
        """Make one shard of every site that lacks it, unless another worker is at it.

        Args:
            index: Number of the shard.
            advance: Receives numbers of texts, together those of the shard, as they are finished here or elsewhere.

        Returns:
            Empty if the shard is complete now; else the worker that is making it, as `process 7 on node3`.

        Raises:
            BridgeError: If one text alone does not fit into memory.
            ModelError: If an activation is NaN or infinite.
            StoreError: If the disk is full or read-only.
        """
        holder = self.begin_shard(index, advance)
        self.finish()
        return holder

    def begin_shard(self, index: int, advance: Callable[[int], None] = lambda _: None) -> str:
        """Run the forward passes of a shard, and leave its files to be written while the next shard runs.

        The shard that was begun before is complete when this returns, so at most two shards are in memory; `finish`
        completes the last one. The claim of a shard is held until its files are written.

        Args:
            index: Number of the shard.
            advance: As in `collect_shard`.

        Returns:
            Empty if the shard is complete or was begun; else the worker that is making it.

        Raises:
            BridgeError: As `collect_shard`, for this shard or for the one that was begun before; nothing of either is
                left to be written then.
        """
        try:
            return self._begin(index, advance)
        except BaseException:
            self.finish()
            raise

    def work(self, item: tuple[int, bool], advance: Callable[[int], None] = lambda _: None) -> str:
        """Do an item of a pool: `begin_shard` for a new shard, `collect_shard` for one that should have been written.

        Args:
            item: Number of the shard, and whether to wait for its files.
            advance: As in `collect_shard`.

        Returns:
            As `collect_shard`.

        Raises:
            BridgeError: As `collect_shard`.
        """
        index, wait = item
        return self.collect_shard(index, advance) if wait else self.begin_shard(index, advance)

    def finish(self) -> None:
        """Wait until the files of the shard that was begun last are written.

        Raises:
            ModelError: If an activation is NaN or infinite.
            StoreError: If the disk is full or read-only.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.finish()
        self._complete |= {(site, writer.index) for site in writer.sites}

    def _begin(self, index: int, advance: Callable[[int], None]) -> str:
        if self._writer is not None and self._writer.index == index:
            self.finish()
        claims: dict[Site, Claim] = {}
        with contextlib.ExitStack() as claimed:
            for site in sorted(self.lacking(index), key=lambda site: self.artifacts[site].path):
                artifact = self.artifacts[site]
                claims[site] = self._claims.setdefault((artifact.path, index), artifact.claim(index))
                if not claims[site].take():
                    return claims[site].holder()
                claimed.callback(claims[site].release)
                artifact.discard_unfinished(index)
            # Another worker may have finished since the first look.
            if sites := self.lacking(index):
                self._make(index, sites, advance, claims)
                claimed.pop_all()
            else:
                advance(len(self.chunks[index]))
        return ""

    def halved(self) -> list[int]:
        """Return the complete shards in which batches were halved because memory ran out, by this worker or another."""
        return sorted({k for site, k in self._complete if self.artifacts[site].info(k).get("halved")})

    def _make(
        self, index: int, sites: Sequence[Site], advance: Callable[[int], None], claims: Mapping[Site, Claim]
    ) -> None:
        source = self._source()

        def advanced(texts: int) -> None:
            # A failure is told after the next batch, and not after the next shard.
            if self._writer is not None and self._writer.ended():
                self.finish()
            advance(texts)

        documents = [self.corpus.documents[i] for i in self.chunks[index]]
        passes = ShardPasses(source, documents, self.settings, self._encoder or source, self._room)
        rows, halved = passes.run(sites, advanced)
        self.finish()
        artifacts = {site: self.artifacts[site] for site in sites}
        self._writer = ShardWriter(index, artifacts, passes, rows, halved, claims)

    def _rows(self, index: int) -> int | None:
        """Return the required number of rows of a shard; None if only the loaded model can tokenise."""
        if self._encoder is None:
            return None
        documents = [self.corpus.documents[i] for i in self.chunks[index]]
        return sum(len(one.kept) for one in self._encoder.encode(documents, self.settings.max_tokens))


def _holds(artifact: Artifact, index: int, rows: Callable[[], int | None]) -> bool:
    """Tell whether a shard exists and has a row for every token; older versions may have stored fewer rows."""
    return artifact.has(index) and rows() in (None, artifact.length(index, "rows"))


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
        found = [str(site) for site in artifacts if not any(site in sites for sites in lacking.values())]
        if found:
            progress.note(f"{name}: activations at {', '.join(found)} are in the cache.")
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
    known: set[str] = set()
    begun: dict[int, float] = {}
    while pending:
        busy: dict[int, str] = {}
        for item, holder in pool.run([(index, index in begun) for index in pending]):
            if holder:
                busy[pending[item]] = holder
            else:
                begun.setdefault(pending[item], time.monotonic())
            _stored(collector, begun, bar)
        collector.finish()
        # A worker elsewhere still writes the shard that it began last.
        end = time.monotonic() + WRITTEN_SECONDS
        while _stored(collector, begun, bar) and time.monotonic() < end:
            time.sleep(POLL_SECONDS / 10)
        _need_shared_store(begun, name)
        if len(busy) == len(pending):
            for holder in set(busy.values()) - known:
                theirs = numbers(index for index, other in busy.items() if other == holder)
                progress.note(
                    f"{name}: waiting for {holder}, which is making shard {theirs}. If it does not answer for "
                    f"{STALE_SECONDS:.0f} s, this process takes over."
                )
            known |= set(busy.values())
            time.sleep(POLL_SECONDS)
        pending = [*busy, *begun]


def _stored(collector: Collector, begun: dict[int, float], bar: _Bar) -> bool:
    """Strike out the shards that are in the store now, and tell whether some are not."""
    for index in [index for index in begun if not collector.lacking(index)]:
        del begun[index]
        bar.finish(index, len(collector.chunks[index]))
    return bool(begun)


def _need_shared_store(begun: Mapping[int, float], name: str) -> None:
    """Refuse to wait longer for a shard that a worker has made, and that is not in the store of this process.

    Raises:
        EngineError: If it did not appear within `APPEARS_SECONDS`.
    """
    late = [index for index, since in begun.items() if time.monotonic() - since > APPEARS_SECONDS]
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
