"""Parts: a fixed division of shards between jobs that do not wait for each other, as the tasks of a job array."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

from bridge.errors import UsageError
from bridge.files.sealed import read_kept, write_kept
from bridge.store import Artifact

MANY = 12
"""Number of parts that a sentence names."""


@final
@dataclass(frozen=True)
class Part:
    """One of `count` parts: every `count`-th shard, from shard `number` - 1 on.

    Attributes:
        number: From 1 to `count`.
        count: Number of parts.
    """

    number: int
    count: int

    @staticmethod
    def parse(text: str) -> Part:
        """Read a part written as I/N.

        Raises:
            UsageError: If it is not of this form with 1 <= I <= N.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip(), re.ASCII)
        part = Part(int(found[1]), int(found[2])) if found else Part(0, 0)
        if not 1 <= part.number <= part.count:
            raise UsageError(
                f"--part {text} is not a part I/N with 1 <= I <= N.",
                remedy="Part 3 of 8 is 3/8. In a job array that starts at 1: "
                "--part $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT.",
            )
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def shards(self, total: int) -> range:
        """Return the numbers of the part's shards.

        Args:
            total: Number of all shards.
        """
        return range(self.number - 1, total, self.count)

    def sign(self, artifact: Artifact) -> None:
        """Leave a record beside the shards that this part began here, and where it runs.

        Raises:
            StoreError: If the store cannot be written.
        """
        record = {"part": self.number, "parts": self.count, "host": platform.node(), "process": os.getpid()}
        write_kept(artifact.path / f"part-{self.number}-of-{self.count}.json", record)


def unfinished(artifact: Artifact, total: int, count: int) -> list[int]:
    """Return the numbers of the parts that lack a shard; shards are not read.

    Args:
        artifact: The artifact.
        total: Number of its shards.
        count: Number of parts.
    """
    there = [artifact.seems_there(index) for index in range(total)]
    return [part + 1 for part in range(min(count, total)) if not all(there[part::count])]


def told(artifacts: Sequence[Artifact], total: int) -> list[str]:
    """Say which parts are missing of artifacts that were begun in parts; nothing if they were not.

    Args:
        artifacts: The artifacts of one model's sites.
        total: Number of their shards.
    """
    began: dict[int, dict[int, str]] = {}
    for path in (path for artifact in artifacts for path in artifact.path.glob("part-*-of-*.json")):
        if record := read_kept(path, dict[str, Any]):  # it only explains: shards say themselves whether they are there
            began.setdefault(record["parts"], {})[record["part"]] = record["host"]
    sentences = []
    for count, hosts in sorted(began.items()):
        lacking = sorted({part for artifact in artifacts for part in unfinished(artifact, total, count)})
        begun, absent = ([part for part in lacking if (part in hosts) is here] for here in (True, False))
        if begun:
            where = ", ".join(sorted({hosts[part] for part in begun})[:MANY])
            sentences.append(f"Parts {numbers(begun)} of {count} began (on {where}) and are not finished.")
        if absent:
            folder = artifacts[0].path.parent
            sentences.append(
                f"Parts {numbers(absent)} of {count} left nothing in {folder}: they did not run, or their store is "
                "another folder (BRIDGE_CACHE_DIR must name one folder that all machines share)."
            )
    return sentences


def numbers(values: Iterable[int]) -> str:
    """Return a list for a sentence and for `sbatch --array`, shortened if it is long."""
    listed = [str(value) for value in values]
    return ",".join(listed[:MANY]) + (f" and {len(listed) - MANY} more" if len(listed) > MANY else "")
