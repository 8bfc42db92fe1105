"""What a scorer says of each number that it gives: what it is, how it is read, and where it belongs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import final


class Section(StrEnum):
    """The question that a number helps to answer; its value is the heading in a report."""

    MAP = "Does the map work?"
    DICTIONARY = "Does the dictionary transfer?"
    EXPLANATIONS = "Do explanations transfer?"
    ACTIVATIONS = "How are live activations explained?"


@final
@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that a number answers in an audit, with a table of its own there.

    Attributes:
        title: What is asked, and in brackets which number answers.
        shows: What the number shows, and what it does not.
        other_dictionaries: Whether the answer is how arms of another dictionary (`mapped:NAME`) score.
    """

    title: str
    shows: str = ""
    other_dictionaries: bool = False


@final
@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number that a scorer gives.

    Attributes:
        name: Of its metrics, without the `@WASHOUT` that a scorer of explanations may add.
        meaning: What it is, in a few words.
        unit: What it is counted in: `share`, `cosine`, `nats`, `p`; empty for a plain number.
        better: `higher` or `lower`; empty where neither is.
        section: Where a report shows it.
        order: Its place among all numbers of the section; the smallest comes first.
        headline: Whether it is drawn as a plot, and compared between runs. Where a scorer has no headline, its first
            number is one.
        compared: Whether washouts are compared by it.
        swept: Whether `bridge sweep` compares layers by it: a share, between 0 and 1.
        questions: What it answers in an audit. A scorer without any is audited if it needs more than rows and a map.
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
