"""The contract of scorer plugins: their needs, their input (`Evidence`) and their output (`Metric`)."""

import warnings
from typing import Any

from bridge.measures import Measure, Question, Section
from bridge.pairing.rows import Rows
from bridge.scorers.arms import MAPPED, MISPAIRED, NATIVE, RANDOM_DIRECTION, RANDOM_MAP, RAW, SELF
from bridge.scorers.contract import Evidence, Need, Scorer
from bridge.scorers.explained import ArmExplanations, Explained, ExplainedActivations, Judge
from bridge.scorers.held_out import Edit, HeldOutPairs, LiveModel
from bridge.scorers.plot import Look, Plot

__all__ = [
    "MAPPED",
    "MISPAIRED",
    "NATIVE",
    "RANDOM_DIRECTION",
    "RANDOM_MAP",
    "RAW",
    "SELF",
    "ArmExplanations",
    "Edit",
    "Evidence",
    "Explained",
    "ExplainedActivations",
    "HeldOutPairs",
    "Judge",
    "LiveModel",
    "Look",
    "Measure",
    "Need",
    "Plot",
    "Question",
    "Rows",
    "Scorer",
    "Section",
]

RENAMED = {"Reading": "ArmExplanations", "Readings": "ExplainedActivations"}


def __getattr__(name: str) -> Any:
    if name not in RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"bridge.scorers.{name} is now {RENAMED[name]}.", DeprecationWarning, stacklevel=2)
    return globals()[RENAMED[name]]
