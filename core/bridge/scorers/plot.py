"""A scorer's own plot in the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Look = Callable[[str], Mapping[str, Any]]
"""Returns an arm's style in the report: matplotlib's line properties (colour, marker, hollow or filled, dashes)."""


@final
@dataclass(frozen=True)
class Plot:
    """A scorer's plot in the report.

    Attributes:
        figure: The figure; created during `Scorer.plot`, it has the page's size, font and colours.
        title: Its caption.
        says: The content as text, for screen readers.
        meaning: The interpretation: a line below the caption.
    """

    figure: Figure
    title: str
    says: str
    meaning: str = ""
