"""A scorer's own plot in the report."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Look = Callable[[str], Mapping[str, Any]]
"""By arm, how the report draws it: matplotlib's properties of a line (colour, marker, hollow or filled, dashes)."""


@final
@dataclass(frozen=True)
class Plot:
    """A scorer's own plot in the report.

    Attributes:
        figure: The picture; made while `Scorer.plot` runs, it has the page's size, font and colours.
        title: Its caption.
        says: What it shows, in words, for those who do not see it.
        meaning: How it is read: a line below the caption.
    """

    figure: Figure
    title: str
    says: str
    meaning: str = ""
