"""Numbers and untrusted text as a page shows them, and what names of arms and metrics mean."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

MINUS = "\N{MINUS SIGN}"
REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
NO_CHARACTERS = frozenset("\ufffe\uffff")

ARMS = {
    "mapped": "through the fitted map",
    "mispaired": "through the same map, fitted on rows of different documents: what it learns where there is nothing",
    "random_map": "through a random rotation of equal scale",
    "random_direction": "random directions of equal length",
    "raw": "no map at all",
    "native": "the model's own",
    "self": "the source's dictionary on its own model",
}
"""What the arms of first-party scorers are, each control near what it controls; others are shown by name alone."""

READERS = ARMS | {
    "native": "the source's activations by its own verbalizer",
    "self": "the destination's activations by its own verbalizer: what a perfect map would reach",
}
"""What arms are where live activations are read."""


def shown(text: str) -> str:
    """Return text without what steers a browser or a terminal: control characters, lone surrogates, reordering."""
    return "".join(f"\\u{ord(c):04x}" if _steers(c) else c for c in text)


def _steers(c: str) -> bool:
    if c.isprintable() or c in "\n\t":
        return False
    return unicodedata.category(c) in ("Cc", "Cs") or c in REORDERING or c in NO_CHARACTERS


def number(value: float | None) -> str:
    """Write a number with three decimals, so that decimals stand below each other, or with one digit if it is tiny."""
    if value is None or not math.isfinite(value):
        return "–"
    written = f"{value:.1g}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"
    return written.replace("-", MINUS) if written.strip("-0.") else written.lstrip("-")


def interval(low: float, high: float) -> str:
    """Write an interval, or nothing where none could be had, or where it has no width."""
    return f"[{number(low)}, {number(high)}]" if math.isfinite(low) and math.isfinite(high) and low < high else ""


def plain(value: Any) -> str:
    """Write a value of a record: numbers grouped, lists joined, missing ones as a dash."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(plain, value)) or "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(one)}" for key, one in value.items()) or "–"
    return str(value)


def dig(record: Any, *keys: str) -> Any:
    """Return a value of nested mappings, or None where one is missing: a foreign record must not break the page."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record
