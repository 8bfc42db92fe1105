"""The measures that installed scorers declare: section, title and order of each number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import final

from bridge.errors import printable
from bridge.measures import OF_THE_CORE
from bridge.metrics import Metric
from bridge.plugins import discover
from bridge.scorers import Measure, Question, Scorer, Section
from bridge.terminal import aside

Key = tuple[str, str]
"""Scorer and name of a metric."""


@final
class Measures:
    """The measures of some scorers; numbers of a scorer that is not installed have only their name.

    Args:
        scorers: Scorers by name.
        own: Measures of the core's own metrics, by the scorer name in these metrics.
    """

    def __init__(self, scorers: Mapping[str, Scorer], own: Mapping[str, Sequence[Measure]]) -> None:
        self._scorers = scorers
        listed = {name: scorer.measures for name, scorer in scorers.items()} | dict(own)
        self._known = {(name, one.name): one for name, some in listed.items() for one in some}
        self._sections = {name: some[0].section for name, some in listed.items() if some}

    def of(self, metric: Metric) -> Measure:
        """Return the measure of a metric; a suffix `@WASHOUT` is not part of a measure's name."""
        exact = self._known.get((metric.scorer, metric.name))
        found = exact or self._known.get((metric.scorer, metric.name.rpartition("@")[0]))
        return found or Measure(name=metric.name, section=self._sections.get(metric.scorer, Section.MAP))

    def within(self, metrics: Iterable[Metric], section: Section) -> list[Metric]:
        """Return the metrics that belong to a section."""
        return [metric for metric in metrics if self.of(metric).section == section]

    def in_order(self, metrics: Iterable[Metric]) -> list[Key]:
        """Return scorer and name of every number, in the order of the report."""
        order = {(metric.scorer, metric.name): self.of(metric).order for metric in metrics}
        return sorted(order, key=lambda key: order[key])

    def headlines(self, metrics: Iterable[Metric]) -> list[Key]:
        """Return scorer and name of the numbers that are plotted: each scorer's headlines, or its first number."""
        metrics = list(metrics)
        marked = {(m.scorer, m.name) for m in metrics if self.of(m).headline and self.of(m).name == m.name}
        first = {key[0]: key for key in reversed(self.in_order(metrics))}
        chosen = marked | {key for scorer, key in first.items() if scorer not in {one for one, _ in marked}}
        return [key for key in self.in_order(metrics) if key in chosen]

    def swept(self, metrics: Iterable[Metric]) -> list[Key]:
        """Return scorer and name of the numbers that layers are compared by."""
        metrics = list(metrics)
        swept = {(metric.scorer, metric.name) for metric in metrics if self.of(metric).swept}
        # For scorers that are not installed, use all numbers.
        return [key for key in self.in_order(metrics) if key in swept or not swept]

    def title(self, key: Key, metrics: Iterable[Metric]) -> str:
        """Return a number's name, with its scorer if another scorer has a number of the same name."""
        alike = {metric.scorer for metric in metrics if metric.name == key[1]}
        return key[1] if len(alike) == 1 else f"{key[1]} ({key[0]})"

    def questions(self, metrics: Iterable[Metric]) -> list[tuple[Question, Key]]:
        """Return the questions of an audit, those about dictionaries first, each with the number that answers it.

        A scorer without questions is shown by its first number, under the meaning of that number.
        """
        found: dict[Key, Measure] = {(metric.scorer, metric.name): self.of(metric) for metric in metrics}
        asking = {scorer for (scorer, _), one in found.items() if one.questions}
        ordered = sorted(found.items(), key=lambda item: (item[1].section != Section.DICTIONARY, item[1].order))
        asked = []
        for key, measure in ordered:
            questions = measure.questions
            if key[0] not in asking:
                asking.add(key[0])
                questions = (Question(title=measure.meaning or f"{key[1]} ({key[0]})"),)
            asked += [(question, key) for question in questions]
        titles = [question.title for question, _ in asked]
        # If two scorers have the same question, add the scorer's name to both.
        return [
            (replace(one, title=f"{one.title} [{key[0]}]") if titles.count(one.title) > 1 else one, key)
            for one, key in asked
        ]

    def sentences(self, metrics: Sequence[Metric], *sections: Section) -> list[str]:
        """Return the scorers' sentences about their numbers in some sections; a scorer that fails gives a note."""
        said: list[str] = []
        for scorer in dict.fromkeys(scorer for scorer, _ in self.in_order(metrics)):
            own = [metric for metric in metrics if metric.scorer == scorer and self.of(metric).section in sections]
            if scorer not in self._scorers or not own:
                continue
            try:
                with aside():
                    lines = self._scorers[scorer].sentences(own)
                    said += [str(line) for line in lines]
            except Exception as error:
                said.append(printable(f"{scorer} could not describe its scores ({type(error).__name__}: {error})."))
        return said


def installed_measures() -> Measures:
    """Return the measures of all installed scorers."""
    return Measures(discover().scorers, OF_THE_CORE)


def asks(question: Question, key: Key, metric: Metric) -> bool:
    """Tell whether a metric belongs to the table of a question about one number."""
    return (metric.scorer, metric.name) == key and (":" in metric.arm) == question.other_dictionaries
