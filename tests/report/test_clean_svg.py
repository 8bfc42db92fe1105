"""SVG of unknown origin: what passes is on a list, and a page without Content-Security-Policy stays silent."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.display.clean_svg import ATTRIBUTES, DRAWN, clean
from chromium import CHROMIUM, Browser, undisturbed

EVIL = "http://evil.example/x"
INSIDE = {
    "handler": '<path onload="alert(1)" OnClick="alert(1)" oNfOcUs="alert(1)" d="M0 0"/>',
    "script": "<script>alert(1)</script><SCRIPT>alert(1)</SCRIPT>",
    "other namespace": '<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>',
    "prefixed": '<s:script xmlns:s="http://www.w3.org/2000/svg">alert(1)</s:script>',
    "html inside": '<foreignObject><body xmlns="http://www.w3.org/1999/xhtml" onload="alert(1)"/></foreignObject>',
    "link": f'<a href="{EVIL}"><text>x</text></a><use href="{EVIL}#a"/><image href="{EVIL}"/>',
    "script link": '<image href="javascript:alert(1)"/><image href="data:image/svg+xml;base64,PHN2Zy8+"/>',
    "image-set": f"<rect style=\"fill: image-set('{EVIL}' 1x); stroke: -webkit-image-set(url({EVIL}) 1x)\"/>",
    "url": f'<rect style="fill: url({EVIL}); stroke: URL({EVIL}); font: url(\'{EVIL}#a\')" clip-path="url({EVIL})"/>',
    "escaped url": f'<rect style="fill: \\75rl({EVIL}); stroke: u/**/rl({EVIL})" clip-path="\\75rl({EVIL})"/>',
    "other property": f'<rect style="background-image: url({EVIL}); cursor: url({EVIL}), auto; mask: url({EVIL})"/>',
    "import": f'<style>@import "{EVIL}";</style><rect style="@import: {EVIL}"/>',
    "animation": '<animate attributeName="href" values="javascript:alert(1)"/><set attributeName="onload"/>',
    "filter": f'<filter id="f"><feImage href="{EVIL}"/></filter><rect filter="url(#f)"/>',
    "tail": "<text>a</text>\u202eevil\u2066\u200f<g>\u200e</g>&#x202e;",
    "break out": "<text>&lt;/svg&gt;&lt;img src=x onerror=alert(1)&gt;</text><![CDATA[</svg><script>x</script>]]>",
}
HOSTILE = list(INSIDE.values())


def image(inside: str) -> str:
    space = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {space} viewBox="0 0 9 9" onload="alert(1)">{inside}</svg>'


def harmless(inside: str) -> None:
    for node in ElementTree.fromstring(f"<g>{inside}</g>").iter():
        assert node.tag in DRAWN
        for name, value in node.attrib.items():
            assert name in ATTRIBUTES | {"style"}
            assert not re.search(r"evil|script|\\|image-set|/\*|url\((?!#)", value, re.I), value
    assert not re.search("[\u200e\u200f\u202a-\u202e\u2066-\u2069]", inside)


@pytest.mark.parametrize("inside", HOSTILE, ids=INSIDE)
def test_what_is_hostile_is_left_out(inside: str) -> None:
    harmless(clean(image(inside))[1])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*sorted(DRAWN), "script", "SCRIPT", "a", "style", "animate", "foreignObject"]),
            st.sampled_from([*sorted(ATTRIBUTES), "style", "onload", "onLoad", "filter", "xlink:href"]),
            st.sampled_from(
                ["#a", EVIL, f"fill: url({EVIL})", "javascript:alert(1)", "url(#a)", "fill: image-set('a')"]
            )
            | st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='<&"'), max_size=30),
            st.sampled_from(["", "\u202etext", "&lt;script>"]),
        ),
        max_size=6,
    )
)
def test_any_image(parts: list[tuple[str, str, str, str]]) -> None:
    inside = "".join(f'<{name} {key}="{value}">{tail}</{name}>{tail}' for name, key, value, tail in parts)
    cleaned = clean(image(inside))[1]
    harmless(cleaned)
    assert clean(image(cleaned))[1] == cleaned, "what is clean stays as it is"


def test_what_is_drawn_stays() -> None:
    drawn = '<g transform="translate(1 -2.5)"><use href="#m" x="1"></use></g>'
    drawn += '<path id="m" d="M 0 1 L 2 3 z" style="fill: url(#h); stroke: #00ff00; stroke-width: 1.5"></path>'
    drawn += "<text style=\"font-size: 10px; font-family: 'DejaVu Sans', sans-serif\">a &lt; b</text>"
    assert clean(image(drawn.replace(" href", " xlink:href"))) == ("0 0 9 9", drawn)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("<svg", "not XML"),
        ('<!DOCTYPE svg [<!ENTITY a "b">]><svg>&a;</svg>', "entities"),
        ('<!DOCTYPE svg SYSTEM "http://evil.example/a.dtd"><svg>&a;</svg>', "entities"),
        (image("<g>" * 200 + "</g>" * 200), "inside each other"),
    ],
)
def test_what_is_refused(source: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        clean(source)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="chromium is not on the PATH, and BRIDGE_CHROMIUM names none")
def test_without_a_policy_no_script_runs_and_nothing_is_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    pictures = "".join(f'<svg viewBox="0 0 9 9">{clean(image(inside))[1]}</svg>' for inside in HOSTILE)
    page.write_text(f"<!doctype html><meta charset=utf-8><link rel=icon href=data:,><body>{pictures}", encoding="utf-8")
    with Browser() as browser:
        browser.open(page)
        undisturbed(browser, page)
