"""Formats for numbers and untrusted text in a page, and the meanings of arms."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping
from typing import Any

MINUS = "\N{MINUS SIGN}"
REORDERING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
NO_CHARACTERS = frozenset("\ufffe\uffff")

ARMS = {
    "mapped": "through the fitted map",
    "mispaired": "through the same map type, fitted on rows of different documents, which do not correspond",
    "random_map": "through a random rotation of equal scale",
    "random_direction": "random directions of equal length",
    "raw": "without a map",
    "native": "the model's own tool",
    "self": "the source's dictionary on its own model",
}
"""Meanings of the arms of first-party scorers, each control after its arm; other arms are shown by name only."""

READERS = ARMS | {
    "native": "the source's activations by its own verbalizer",
    "self": "the destination's activations by its own verbalizer: the score of a perfect map",
}
"""Meanings of the arms for live activations."""


def shown(text: str) -> str:
    """Return text with control characters, lone surrogates and reordering characters escaped."""
    return "".join(f"\\u{ord(c):04x}" if _steers(c) else c for c in text)


def _steers(c: str) -> bool:
    if c.isprintable() or c in "\n\t":
        return False
    return unicodedata.category(c) in ("Cc", "Cs") or c in REORDERING or c in NO_CHARACTERS


def number(value: float | None) -> str:
    """Format a number with three decimals, so that decimal points align, or with one digit if it is tiny."""
    if value is None or not math.isfinite(value):
        return "–"
    written = f"{value:.1g}" if 0 < abs(value) < 0.0005 else f"{value:.3f}"
    return written.replace("-", MINUS) if written.strip("-0.") else written.lstrip("-")


def interval(low: float, high: float) -> str:
    """Format an interval; return an empty string if the interval is unknown or has no width."""
    return f"[{number(low)}, {number(high)}]" if math.isfinite(low) and math.isfinite(high) and low < high else ""


def plain(value: Any) -> str:
    """Format a value of a record: numbers grouped, lists joined, missing values as a dash."""
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
    """Return a value of nested mappings, or None if a key is missing: a foreign record must not break the page."""
    for key in keys:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record
