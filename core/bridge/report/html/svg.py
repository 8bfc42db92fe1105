"""Plots as SVG inside a page: in its colours, light or dark; its own font; and the same bytes every time."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, final
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

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bridge",
    "text.parse_math": False,
    "font.size": 12,
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
    """Keep what is drawn: no metadata, no style for the whole page, no ids that nothing refers to."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    named: dict[str, str] = {}
    counter = itertools.count()
    referred = " ".join(value for node in root.iter() for name, value in node.attrib.items() if name != "id")
    for node in root.iter():
        node.tag = node.tag.removeprefix(SVG)
        node.attrib = {name.removeprefix(XLINK): value for name, value in node.attrib.items()}
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
    if value.startswith("url(#"):
        return f"url(#{named[value[5:-1]]})"
    return value


def _recoloured(value: str) -> str:
    for stand_in, colour in COLOURS.items():
        value = value.replace(stand_in, colour)
    return value
