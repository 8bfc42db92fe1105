"""One worker of a collection: it claims shards of a model's artifacts, makes them, and leaves them to be written."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import final

from bridge.claims import Claim
from bridge.collect.activations import ActivationSource, CollectSettings
from bridge.collect.forward import ShardPasses
from bridge.collect.memory import Room
from bridge.collect.writer import ShardWriter
from bridge.corpus.documents import Corpus
from bridge.corpus.shards import shards
from bridge.pairing.align import Encoder
from bridge.references import Site
from bridge.store import Artifact


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
