"""What a rehearsal needs to know of a command: its experiment, what it opens, and how it is performed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from bridge.models.resolve import ResolvedModel
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.runtime import Runtime
from bridge.progress import Progress
from bridge.references import expand_references


@final
@dataclass(frozen=True)
class Surroundings:
    """Where a command is performed: on stand-ins, in a temporary folder.

    Attributes:
        options: The experiment on the stand-ins.
        dictionaries: Dictionaries of the stand-ins, by side.
        widths: Widths of the stand-ins, by side.
        folder: For all that the command writes.
        progress: Receives every stage.
    """

    options: Options
    dictionaries: Mapping[str, str]
    widths: Mapping[str, int]
    folder: Path
    progress: Progress


@final
@dataclass(frozen=True)
class Performed:
    """What a performance leaves besides files.

    Attributes:
        failed: Errors by the name of the scorer that failed.
        scored: Names of the scorers that gave numbers; None if the command is not there to score.
    """

    failed: Mapping[str, str] = field(default_factory=dict)
    scored: frozenset[str] | None = None


@final
@dataclass(frozen=True)
class Command:
    """One command, as a rehearsal sees it.

    Attributes:
        options: The experiment.
        perform: Runs the command on stand-ins, with the code of the command.
        references: The models by side: `src`, `dst`, and `dst2`, ... of a command with several destinations.
        explained: The sides whose verbalizers are opened.
        dictionaries: References of dictionaries, by side.
        checks: Checks of the real inputs that need no model, by the words for where they are made.
        complete: Names what the user left open, from the models that were found: a site, a verbalizer.
        idle: Whether options of explanations without effect are refused, as by `bridge run`.
        judged: Whether explanations are judged by the sentence encoder.
        corpus: Whether the models are run on the corpus.
        left_out: What the estimate leaves out, in words.
    """

    options: Options
    perform: Callable[[Surroundings], Performed]
    references: Mapping[str, str]
    explained: Sequence[str] = ()
    dictionaries: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    complete: Callable[[Options, Mapping[str, ResolvedModel], Runtime], Options] | None = None
    idle: bool = False
    judged: bool = False
    corpus: bool = True
    left_out: Sequence[str] = ()


def pair_of(options: Options) -> dict[str, str]:
    """Return the source and the destinations of an experiment, by side.

    Raises:
        UsageError: If a range of destinations is empty.
    """
    others = expand_references(options.models.dst)
    return {"src": options.models.src} | {f"dst{number or ''}": one for number, one in _counted(others)}


def _counted(others: Sequence[str]) -> list[tuple[int, str]]:
    return [(0 if place == 0 else place + 1, one) for place, one in enumerate(others)]
