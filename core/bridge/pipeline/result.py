"""Base classes of results: display in a notebook, and conversion to pandas."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, final

from markupsafe import Markup

from bridge.display import notebook
from bridge.errors import UsageError
from bridge.metrics import Metric
from bridge.scorers import MAPPED

if TYPE_CHECKING:
    from pandas import DataFrame

MOST = 3
"""Number of measures in the summary line of a result."""


class Shown(ABC):
    """What a notebook shows: a line of what it is, and below it tables and plots."""

    @abstractmethod
    def __repr__(self) -> str:
        """Return a one-line summary."""

    @abstractmethod
    def _shown(self) -> list[Markup]:
        """Return the tables and plots; every text in them is escaped."""

    @final
    def _repr_html_(self) -> str:
        return notebook.fragment(repr(self), self._shown())


class Result(Shown):
    """The result of a command, as rows with the same fields."""

    @abstractmethod
    def records(self) -> list[dict[str, Any]]:
        """Return the rows: one for each number, explained vector or transferred array."""

    @final
    def to_frame(self) -> DataFrame:
        """Return the rows as a pandas table, a column for each field.

        Returns:
            The table; rows are in the order of `records`.

        Raises:
            UsageError: If pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise UsageError(
                "pandas is not installed; to_frame needs it.",
                remedy="Run pip install 'residual-bridge[pandas]', or use records(), which does not need pandas.",
            ) from error
        return pandas.DataFrame.from_records(self.records())

    def _shown(self) -> list[Markup]:
        return [notebook.records(self.records())]


class Scored(Result):
    """A result whose rows are metrics."""

    metrics: list[Metric]

    @final
    def records(self) -> list[dict[str, Any]]:
        """Return a row for each metric.

        Returns:
            Rows of the fields of `bridge.metrics.Metric`.
        """
        return [asdict(metric) for metric in self.metrics]


def headline(metrics: Sequence[Metric]) -> str:
    """Return the first mapped measures, each with its control, as one line."""
    by_arm = {(one.scorer, one.name, one.arm, one.src, one.dst): one for one in metrics}
    mapped = [one for one in metrics if one.arm == MAPPED][:MOST]
    said = []
    for one in mapped:
        control = by_arm.get((one.scorer, one.name, one.control, one.src, one.dst))
        said.append(f"{one.name} {one.value:.3f}" + (f" ({control.arm} {control.value:.3f})" if control else ""))
    return ", ".join([*said, f"{len(metrics)} metrics"])
