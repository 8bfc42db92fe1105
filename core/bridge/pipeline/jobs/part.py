"""One part of the collection that an experiment needs, as a task of a job array."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import IO, final

from bridge.collect.parts import Part, numbers, unfinished
from bridge.corpus.shards import shards
from bridge.pipeline.plan.gather import gather
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import open_runtime
from bridge.progress import Progress


@final
@dataclass(frozen=True)
class CollectedPart:
    """What `collect_part` has done.

    Attributes:
        part: The part, which is complete.
        shards: Number of its shards, for each model.
        missing: Numbers of the parts that are not complete in this store.
        store: The folder of the store.
    """

    part: Part
    shards: int
    missing: tuple[int, ...]
    store: Path

    def __str__(self) -> str:
        done = f"Part {self.part} is collected in {self.store} ({self.shards} shards of each model)."
        if self.missing:
            return (
                f"{done} Not complete there: parts {numbers(self.missing)} of {self.part.count}. When their tasks have "
                "ended, run the same command without --part: it says what is missing, and collects it."
            )
        return f"{done} All {self.part.count} parts are there: run the same command without --part."


def collect_part(
    options: Options, part: Part, progress: Progress | None = None, stdin: IO[str] | None = None
) -> CollectedPart:
    """Collect the shards of one part, of all sites that `src` and `dst` name; nothing is fitted.

    Args:
        options: The options of the run, fit or sweep.
        part: The part.
        progress: Receives every stage.
        stdin: The stream for a corpus `-`.

    Raises:
        BridgeError: As `prepare` and `gather`.
    """
    runtime = open_runtime(progress)
    plan = prepare(options, runtime, stdin)
    sites = {"src": plan.src.model.all_sites(), "dst": plan.dst.model.all_sites()}
    total = len(shards(plan.corpus, plan.options.corpus.max_tokens))
    both = [artifact for side in gather(plan, sites, runtime, part) for artifact in side.values()]
    missing = {number for artifact in both for number in unfinished(artifact, total, part.count)}
    return CollectedPart(part, len(part.shards(total)), tuple(sorted(missing)), runtime.store.root)
