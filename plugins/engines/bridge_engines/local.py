"""The engine `local`: one worker in this process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, final

from bridge.engines import Engine, Pool, Work, in_turn
from bridge.hookspecs import hookimpl


@final
@dataclass(frozen=True)
class Local(Engine):
    """Does one item after the other in this process."""

    name = "local"
    summary = "One worker, in this process."

    def open(self, work: Work[Any, Any], note: Callable[[str], None]) -> AbstractContextManager[Pool]:
        """Return a pool of one worker, which shares what this process has loaded."""
        return in_turn(work.here)


@hookimpl
def register_engines(register: Callable[[type[Engine]], None]) -> None:
    """Register the engine."""
    register(Local)
