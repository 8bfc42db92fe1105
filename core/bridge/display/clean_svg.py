"""SVG of unknown origin, parsed as XML and written again from what is allowed; everything else is left out.

The page needs no Content-Security-Policy to be safe: no script, handler, link or animation passes, and no address
except of parts of the same image and of PNG pictures inside it.
"""

from __future__ import annotations

import re
from typing import Any, Final, final
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from bridge.display.words import shown

__all__ = ["clean"]

SVG: Final = "http://www.w3.org/2000/svg"
XLINK: Final = "http://www.w3.org/1999/xlink"
DEEPEST: Final = 100
LONGEST: Final = 64 * 2**20
"""Characters of an image before it is cleaned."""

SHAPES = ("path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "image", "use")
DRAWN = frozenset({"svg", "g", "defs", "clipPath", "pattern", "linearGradient", "stop", *SHAPES})
"""Allowed elements, in the namespace of SVG; all others are left out with what they contain."""

LINK: Final = "a"
"""An element that is left out without what it contains."""

NAMED = frozenset({"path", "clipPath", "pattern", "linearGradient"})
"""Elements that may have an id: to be used by others."""

PLACED = (
    "d points x y dx dy x1 y1 x2 y2 cx cy r rx ry width height viewBox transform offset clip-path clip-rule id href"
)
ATTRIBUTES = frozenset([*PLACED.split(), "preserveAspectRatio", "patternUnits", "gradientUnits", "gradientTransform"])
"""Allowed attributes, spelt exactly so, besides `style`."""

PROPERTIES = frozenset(
    [
        "fill",
        "stroke",
        "opacity",
        "font",
        "font-size",
        "font-family",
        "font-style",
        "font-weight",
        "text-anchor",
        "stop-color",
        "stop-opacity",
        "fill-opacity",
        "fill-rule",
        "clip-rule",
        "stroke-width",
        "stroke-opacity",
        "stroke-linecap",
        "stroke-linejoin",
        "stroke-miterlimit",
        "stroke-dasharray",
        "stroke-dashoffset",
    ]
)
"""Allowed properties of `style`."""

_VALUE = re.compile(r"[\w\s.,#%'\"+-]*|url\(#[\w.-]+\)|rgba?\([\d\s.,%]*\)", re.ASCII)
"""Allowed values of properties and of `clip-path`: no function but these, and no escape of CSS."""

_PLAIN = re.compile(r"[\w\s.,%()#+-]*", re.ASCII)
"""Allowed values of other attributes."""

_VIEW = re.compile(r"[\d. ]+", re.ASCII)
_HREF = re.compile(r"#[\w.-]+|data:image/png;base64,[A-Za-z0-9+/=\s]*", re.ASCII)


def clean(source: str) -> tuple[str, str]:
    """Return an image's `viewBox` (empty if it has none), and the markup inside of its outermost element.

    Args:
        source: An SVG document.

    Raises:
        ValueError: If it is not XML, too long or too deep, or declares entities.
    """
    if len(source) > LONGEST:
        raise ValueError(f"the image has {len(source):,} characters; the limit is {LONGEST:,}")
    writer = _Writer()
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = writer.start, writer.end
    parser.CharacterDataHandler = writer.text
    parser.StartDoctypeDeclHandler = _refuse_subset
    parser.EntityDeclHandler = parser.SkippedEntityHandler = _refuse
    try:
        parser.Parse(shown(source).encode(), True)
    except expat.ExpatError as error:
        raise ValueError(f"the image is not XML ({error})") from error
    return writer.view, "".join(writer.written).strip()


def _refuse(*_: Any) -> None:
    raise ValueError("the image declares or uses entities")


def _refuse_subset(_name: str, _system: str | None, _public: str | None, has_subset: int) -> None:
    if has_subset:
        _refuse()


@final
class _Writer:
    """Writes what is allowed; `view` is the `viewBox` of the outermost element."""

    def __init__(self) -> None:
        self.view = ""
        self.written: list[str] = []
        self._open: list[str] = []
        self._depth = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(f"the image has more than {DEEPEST} elements inside each other")
        space, _, local = name.rpartition(" ")
        # Within an element that is left out, all is left out.
        if len(self._open) < self._depth - 1 or space != SVG or local not in (*DRAWN, LINK):
            return
        self._open.append(local)
        if local == LINK:
            return
        if self._depth == 1:
            view = attributes.get("viewBox", "")
            self.view = view if _VIEW.fullmatch(view) else ""
            return
        kept = {one.removeprefix(f"{XLINK} "): value for one, value in attributes.items()}
        pairs = ((one, _attribute(local, one, value)) for one, value in kept.items())
        shown_pairs = "".join(f" {one}={quoteattr(shown(value))}" for one, value in pairs if value)
        self.written.append(f"<{local}{shown_pairs}>")

    def end(self, _name: str) -> None:
        if len(self._open) == self._depth:
            local = self._open.pop()
            if self._depth > 1 and local != LINK:
                self.written.append(f"</{local}>")
        self._depth -= 1

    def text(self, text: str) -> None:
        if len(self._open) == self._depth:
            self.written.append(escape(shown(text)))


def _attribute(element: str, name: str, value: str) -> str:
    """Return the allowed part of an attribute's value, or nothing."""
    if name == "style":
        return _style(value)
    if name not in ATTRIBUTES or (name == "id" and element not in NAMED):
        return ""
    if name == "href":
        start = {"use": "#", "image": "data:"}.get(element, " ")
        return value if value.startswith(start) and _HREF.fullmatch(value) else ""
    if name == "clip-path":
        return value if _VALUE.fullmatch(value) else ""
    return value if _PLAIN.fullmatch(value) and "url" not in value.lower() else ""


def _style(style: str) -> str:
    kept = []
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        quotes = value.count("'") % 2 or value.count('"') % 2
        if name in PROPERTIES and value and not quotes and _VALUE.fullmatch(value):
            kept.append(f"{name}: {value}")
    return "; ".join(kept)
