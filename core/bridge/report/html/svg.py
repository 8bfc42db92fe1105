"""Plots as SVG inside a page: in its colours, light or dark; its own font; and the same bytes every time."""

from __future__ import annotations

import io
import itertools
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final
from xml.etree import ElementTree

from markupsafe import Markup

from bridge.report.html.words import shown

if TYPE_CHECKING:
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
    "svg.hashsalt": "bridge",
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
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
SHAPES = ("path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "image", "use")
DRAWN = frozenset({"svg", "g", "a", "defs", "clipPath", "pattern", "linearGradient", "stop", *SHAPES})
"""Elements that a picture is made of; no other comes into the page."""


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


def plot(figure: Figure, key: str, title: str, meaning: str, says: str) -> Plot:
    """Turn a figure into markup whose ids no other plot of the page has; call it while `drawing`."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(buffer.getvalue())
    _clean(root, key)
    width, height = root.get("viewBox", "").split()[2:]
    root.attrib = {"viewBox": root.get("viewBox", ""), "width": width, "height": height, "role": "img"}
    root.set("aria-label", f"{shown(title)}. {shown(says)}")
    return Plot(key, title, meaning, says, Markup(ElementTree.tostring(root, encoding="unicode")))


def _clean(root: ElementTree.Element, key: str) -> None:
    """Keep what is drawn: no metadata, style for the whole page, link, or id that nothing refers to; text harmless."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.removeprefix(SVG) not in DRAWN:
                parent.remove(child)
    named: dict[str, str] = {}
    counter = itertools.count()
    referred = " ".join(value for node in root.iter() for name, value in node.attrib.items() if name != "id")
    for node in root.iter():
        node.tag = node.tag.removeprefix(SVG)
        node.attrib = {name.removeprefix(XLINK): value for name, value in node.attrib.items() if name[:2] != "on"}
        if node.tag == "a" or not node.get("href", "#").startswith(("#", "data:image/png;base64,")):
            node.tag, node.attrib = "g", {}
        node.text = shown(node.text) if node.text else node.text
        identity = node.attrib.pop("id", "")
        if identity and f"#{identity}" in referred:
            named[identity] = f"{key}-{next(counter)}"
            node.set("id", named[identity])
    for node in root.iter():
        for name, value in node.attrib.items():
            node.set(name, _recoloured(_renamed(name, value, named)))


def _renamed(name: str, value: str, named: dict[str, str]) -> str:
    if name == "href" and value.startswith("#"):
        return f"#{named[value[1:]]}"
    inside = {old: f"url(#{new})" for old, new in named.items()}
    return re.sub(r"url\(#?([^)]*)\)", lambda found: inside.get(found[1], "none"), value)


def _recoloured(value: str) -> str:
    for stand_in, colour in COLOURS.items():
        value = value.replace(stand_in, colour)
    return value
