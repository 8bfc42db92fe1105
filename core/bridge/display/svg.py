"""Plots as SVG inside a page: with the page's light or dark colours and font, and with deterministic bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from markupsafe import Markup

from bridge.display.clean_svg import clean
from bridge.display.words import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.7
"""Width in inches of 72 units: it fits a phone without scaling, so that text stays readable."""

INK, RULE, MAPPED, NATIVE, RAW, CONTROL = (f"#00000{digit}" for digit in range(1, 7))
COLOURS = {
    INK: "currentColor",
    RULE: "var(--rule)",
    MAPPED: "var(--mapped)",
    NATIVE: "var(--native)",
    RAW: "var(--raw)",
    CONTROL: "var(--control)",
}
"""Placeholder colours for matplotlib, and the CSS variables of the page that replace them."""

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 12,
    "figure.figsize": (WIDTH, 3.1),
    "figure.constrained_layout.use": True,
    "legend.frameon": False,
    "grid.color": RULE,
    "patch.edgecolor": INK,
    "axes.prop_cycle": f"cycler('color', {[MAPPED, NATIVE, RAW, CONTROL]})",
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


@final
@dataclass(frozen=True)
class Plot:
    """A plot and its description.

    Attributes:
        key: Unique in the page.
        title: Its caption.
        meaning: A line below the caption.
        says: The plot's content as text, for screen readers.
        svg: The image.
    """

    key: str
    title: str
    meaning: str
    says: str
    svg: Markup


@contextmanager
def drawing() -> Iterator[None]:
    """Set the page's style for drawing, overriding the user's matplotlibrc."""
    from matplotlib import style

    with style.context(["default", STYLE]), warnings.catch_warnings():
        # The browser supplies the font, so glyphs missing from matplotlib's font do not matter.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@contextmanager
def axes_of(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Yield a new figure in the page's style, of the given height in inches."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def plot(figure: Figure, key: str, title: str, meaning: str, says: str) -> Plot:
    """Turn a figure into markup with ids that are unique in the page; call it within `drawing`.

    Raises:
        ValueError: If the drawing is not valid XML.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    # matplotlib derives ids from content and salt, so plots with other keys have other ids.
    with rc_context({"svg.hashsalt": key}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    view, inside = clean(buffer.getvalue())
    for stand_in, colour in COLOURS.items():
        inside = inside.replace(stand_in, colour)
    width, height = view.split()[2:] if view else ("", "")
    label = f"{shown(title)}. {shown(says)}"
    root = Markup('<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">')
    return Plot(key, title, meaning, says, root.format(width, height, label) + Markup(f"{inside}</svg>"))
