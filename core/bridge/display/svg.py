"""Plots as SVG inside a page: in its colours, light or dark; its own font; and the same bytes every time."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from markupsafe import Markup

from bridge.display.words import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 4.7
"""Inches of 72 units: what a phone shows at its natural size, so that the writing stays readable."""

INK, RULE, MAPPED, NATIVE, RAW, CONTROL = (f"#00000{digit}" for digit in range(1, 7))
COLOURS = {
    INK: "currentColor",
    RULE: "var(--rule)",
    MAPPED: "var(--mapped)",
    NATIVE: "var(--native)",
    RAW: "var(--raw)",
    CONTROL: "var(--control)",
}
"""Stand-ins that matplotlib draws in, and what the page's style sheet knows them as."""

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
SHAPES = ("path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "image", "use")
DRAWN = {"svg", "g", "defs", "clipPath", "pattern", "linearGradient", "stop", *SHAPES}
"""Elements that a picture is made of; no other comes into the page."""
PLACED = "d points x y dx dy x1 y1 x2 y2 cx cy r rx ry width height viewBox transform offset style clip-path clip-rule"
ATTRIBUTES = {"*": {*PLACED.split(), "preserveAspectRatio", "patternUnits", "gradientUnits", "gradientTransform"}}
ATTRIBUTES |= {name: {"id"} for name in ("path", "clipPath", "pattern", "linearGradient")}
ATTRIBUTES |= {name: {"href"} for name in ("use", "image")}
PROPERTIES = "fill stroke opacity font font-size font-family font-style font-weight text-anchor stop-color stop-opacity"
PROPERTIES += " fill-opacity fill-rule clip-rule" + "".join(
    f" stroke-{name}" for name in ("width", "opacity", "linecap", "linejoin", "miterlimit", "dasharray", "dashoffset")
)
"""Attributes, and properties of `style`, that say where and how something is drawn; no other comes into the page."""

REFERENCE = re.compile(r"url\(([^)]*)\)")


@final
@dataclass(frozen=True)
class Plot:
    """A plot and what it shows.

    Attributes:
        key: Unique in the page.
        title: Its caption.
        meaning: A line below the caption.
        says: What the plot shows, for those who do not see it.
        svg: The picture.
    """

    key: str
    title: str
    meaning: str
    says: str
    svg: Markup


@contextmanager
def drawing() -> Iterator[None]:
    """Draw in the page's style, whatever the user's matplotlibrc says."""
    from matplotlib import style

    with style.context(["default", STYLE]), warnings.catch_warnings():
        # The browser brings the font: what matplotlib's own lacks is no fault.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


@contextmanager
def axes_of(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Draw in the page's style into a new figure of some inches' height."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        yield figure, figure.subplots()


def plot(figure: Figure, key: str, title: str, meaning: str, says: str) -> Plot:
    """Turn a figure into markup whose ids no other plot of the page has; call it while `drawing`.

    Raises:
        ValueError: If what was drawn is no XML.
    """
    import nh3
    from matplotlib import rc_context

    buffer = io.StringIO()
    # matplotlib makes ids of what they name and the salt, so those of another key differ.
    with rc_context({"svg.hashsalt": key}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = nh3.clean(
        buffer.getvalue(),
        tags=DRAWN,
        clean_content_tags={"script", "style", "metadata", "title", "desc"},
        attributes=ATTRIBUTES,
        filter_style_properties=set(PROPERTIES.split()),
        url_schemes={"data"},
        attribute_filter=_own,
    )
    for stand_in, colour in COLOURS.items():
        drawn = drawn.replace(stand_in, colour)
    view = re.search(r'viewBox="([\d. ]+)"', drawn)
    width, height = view[1].split()[2:] if view else ("", "")
    label = f"{shown(title)}. {shown(says)}"
    root = Markup('<svg viewBox="0 0 {0} {1}" width="{0}" height="{1}" role="img" aria-label="{2}">')
    inside = REFERENCE.sub(_inside, shown(drawn[drawn.index("<svg") :].partition(">")[2]))
    return Plot(key, title, meaning, says, root.format(width, height, label) + Markup(inside.strip()))


def _own(element: str, name: str, value: str) -> str | None:
    return value if name != "href" or value.startswith(("#", "data:image/png;base64,")) else None


def _inside(reference: re.Match[str]) -> str:
    """Let a reference stay that names a part of the same picture, and no other."""
    target = reference[1].replace("&quot;", "")
    return f"url({target})" if target.startswith("#") else "none"
