"""Progress on the terminal: bars with rate and remaining time, on standard error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from bridge.progress import Advance, Progress
from bridge.terminal import cell, console, guarded, shown


@final
class TerminalProgress(Progress):
    """Draws one bar per stage if standard error is a terminal; always prints notes, unless `quiet` is set.

    Args:
        quiet: Print nothing.
    """

    def __init__(self, quiet: bool) -> None:
        self._console = console(err=True, quiet=quiet)

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        """Draw a bar for the stage, with its rate and the remaining time."""
        from rich import progress as bars

        columns = (
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn(f"{unit} {{task.fields[rate]}}", markup=False),
            bars.TimeRemainingColumn(),
        )
        with bars.Progress(*columns, console=self._console, disable=not self._console.is_terminal) as drawn, guarded():
            task = drawn.add_task(shown(name), total=total, rate="")

            def advance(units: int = 1) -> None:
                speed = drawn.tasks[0].speed
                drawn.update(task, advance=units, rate=f"{speed:,.1f}/s" if speed else "")

            yield advance

    def note(self, message: str) -> None:
        """Print a sentence on standard error."""
        self._console.print(cell(message, "dim"), soft_wrap=True)
