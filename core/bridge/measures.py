"""Declarations of a scorer's numbers: meaning, interpretation and section."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final


class Section(StrEnum):
    """The section of a number in a report; its value is the heading."""

    MAP = "Does the map work?"
    DICTIONARY = "Does the dictionary transfer?"
    EXPLANATIONS = "Do explanations transfer?"
    ACTIVATIONS = "How are live activations explained?"


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that a number answers in an audit, with its own table.

    Attributes:
        title: The question, with the number that answers it in brackets.
        shows: What the number shows and what it does not show.
        other_dictionaries: Whether the table shows arms of other dictionaries (`mapped:NAME`).
    """

    title: str
    shows: str = ""
    other_dictionaries: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number that a scorer computes.

    Attributes:
        name: Name of its metrics, without the `@WASHOUT` that a scorer of explanations may add.
        meaning: A short description.
        unit: Unit: `share`, `cosine`, `nats`, `p`; empty for a plain number.
        better: `higher` or `lower`; empty if neither is better.
        section: Section of the report.
        order: Position among all numbers of the section; the smallest comes first.
        headline: Whether the number is plotted and compared between runs. Default headline: the scorer's first number.
        compared: Whether washouts are compared by this number.
        swept: Whether `bridge sweep` compares layers by this number: a share, between 0 and 1.
        questions: Questions that the number answers in an audit. A scorer without questions is audited if it needs more
            than rows and a map.
    """

    name: str
    meaning: str = ""
    unit: str = ""
    better: str = ""
    section: Section = Section.MAP
    order: int = 1000
    headline: bool = False
    compared: bool = False
    swept: bool = False
    questions: tuple[Question, ...] = ()


STEERING = "steering"
OF_THE_CORE = {
    STEERING: (
        Measure(
            name="log_odds_shift", meaning="how far predictions move towards the other class", unit="nats", order=1
        ),
        Measure(name="kl", meaning="how far predictions move at all", unit="nats", order=2),
        Measure(name="transfer_ratio", meaning="the shift over that of the native vector", order=3),
    )
}
"""Measures that no scorer gives, by what their metrics name as their scorer."""
