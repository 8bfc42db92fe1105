"""The result of a rehearsal. It holds no score: those of random weights mean nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, final


@final
@dataclass(frozen=True)
class Problem:
    """Something that would stop the real run, or make it differ from what was asked for.

    Attributes:
        stage: Where it was found, in words: `source model`, `fitting the map`, `scorer NAME`.
        what: What is wrong, with cause and remedy.
    """

    stage: str
    what: str


@final
@dataclass(frozen=True)
class Stage:
    """A finished or failed stage of the rehearsed run.

    Attributes:
        name: Its name.
        done: Finished units.
        total: All units.
        unit: Name of a unit.
        seconds: How long it took.
    """

    name: str
    done: int
    total: int
    unit: str
    seconds: float


@final
@dataclass(frozen=True)
class Rehearsal:
    """What a rehearsal found.

    Attributes:
        problems: What would have failed; empty if everything ran.
        stand_ins: What stood for what, as records with `what`, `real` and `stand_in`.
        stages: The stages that ran, in order.
        unchecked: What a rehearsal could not try, a sentence each.
        finished: Whether the run came to its end, with the report.
        estimates: Of the real run: `fetch_gib`, `memory_gib`, `disk_gib`, `tokens`, `explanations`, `hours`, ...
    """

    problems: list[Problem] = field(default_factory=list)
    stand_ins: list[dict[str, str]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    finished: bool = False
    estimates: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the result, ready for `json.dump`.

        Returns:
            One entry per attribute.
        """
        return {
            "problems": [vars(one) for one in self.problems],
            "stand_ins": self.stand_ins,
            "stages": [vars(one) for one in self.stages],
            "unchecked": self.unchecked,
            "finished": self.finished,
            "estimates": self.estimates,
        }
