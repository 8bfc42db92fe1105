"""The stages of a rehearsed run: recorded while they run, and named in words where they fail."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, final

from bridge.errors import BridgeError
from bridge.progress import Advance, Progress
from bridge.rehearsal.result import Problem, Stage

Found = TypeVar("Found")

PARTS = {
    "bridge.report": "writing the report",
    "bridge.pipeline.score": "scoring",
    "bridge.pipeline.verbalize": "explaining",
    "bridge.readers": "explaining",
    "bridge.pipeline.transfer": "transferring the dictionary",
    "bridge.pipeline.fit": "fitting the map",
    "bridge.collect": "collecting activations",
    "bridge.pairing": "pairing tokens",
    "bridge.corpus": "reading the corpus",
    "bridge.pipeline.plan": "planning",
}
"""What each part of the package does, in words."""


@final
class Recorder(Progress):
    """Passes on every stage, and keeps how far it came and how long it took."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self.stages: list[Stage] = []

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        """Record a stage, also one that fails."""
        done, start = 0, time.monotonic()
        with self._shown.stage(name, total, unit) as shown:

            def advance(units: int = 1) -> None:
                """Count finished units."""
                nonlocal done
                done += units
                shown(units)

            try:
                yield advance
            finally:
                self.stages.append(Stage(name, done, total, unit, round(time.monotonic() - start, 2)))

    def note(self, message: str) -> None:
        """Say nothing: the notes of a run are about its scores and its weights, which mean nothing here."""


@final
class Problems:
    """Collects what is wrong, each fault once."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, stage: str, what: str) -> None:
        """Keep a fault, unless it was found before."""
        if all(one.what != what for one in self.found):
            self.found.append(Problem(stage, what))

    def tried(self, stage: str, what: Callable[[], Found]) -> Found | None:
        """Return the result of a call, or keep its error and return None."""
        try:
            return what()
        except BridgeError as error:
            self.add(stage, str(error))
        except Exception as error:  # a fault of a plugin is a finding, too
            self.add(stage, f"{type(error).__name__}: {error}")
        return None


def stage_of(error: BaseException) -> str:
    """Return in words which part of a run raised an error: the innermost part of the pipeline on its way."""
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        module = str(frame.f_globals.get("__name__", ""))
        for prefix, words in PARTS.items():
            if module == prefix or module.startswith(f"{prefix}."):
                return words
    return "running"
