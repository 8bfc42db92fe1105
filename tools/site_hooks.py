"""What mkdocs does beside its plugins: pages of the repository's root, formulas without scripts, no outside requests.

    <!-- include: README.md -->
    <!-- include: CONTRIBUTING.md, Write a plugin in ten minutes -->

in a page of docs/ stands for a file of the root, or for one of its sections, so that every text is in one place only.
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).resolve().parents[1]
INCLUDE = re.compile(r"^<!-- include: (?P<file>[\w.]+)(?:, (?P<section>.+?))? -->$", re.MULTILINE)
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
LOADED = re.compile(r"<(?:link|script|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>")
PAGES = {"docs/": "", "CONTRIBUTING.md": "plugins.md", "README.md": "index.md"}
"""What the start of a link from the root becomes within docs/."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put in what pages include."""
    return INCLUDE.sub(lambda found: included(found["file"], found["section"]), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Make formulas MathML, which browsers show by themselves."""
    return FORMULA.sub(mathml, html)


def on_post_page(output: str, **_: Any) -> str:
    """Refuse pages that would load something from elsewhere."""
    outside = LOADED.search(output)
    if outside:
        raise PluginError(f"This page would load something from the network: {outside[0]}")
    return output


def included(file: str, section: str | None) -> str:
    """Return a file of the root, or the section under one of its `##` headings, with links that work within docs/."""
    text = (ROOT / file).read_text(encoding="utf-8")
    if section:
        found = re.search(rf"^## {re.escape(section)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
        if not found:
            raise PluginError(f"{file} has no section {section!r}.")
        text = re.sub(r"^#(#+) ", r"\1 ", found[0], flags=re.MULTILINE)
    for start, page in PAGES.items():
        text = text.replace(f"]({start}", f"]({page}")
    return text


def mathml(found: re.Match[str]) -> str:
    """Convert one formula from LaTeX."""
    return str(convert(html.unescape(found[2]), display="inline" if found[1] == "span" else "block"))
