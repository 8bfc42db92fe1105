"""The expected errors of bridge, each with what happened, the likely cause and the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from functools import partial
from typing import Any, final

__all__ = [
    "BridgeError",
    "ConformanceError",
    "CorpusError",
    "CorruptArtifactError",
    "EngineError",
    "MapError",
    "ModelError",
    "ModelUnavailableError",
    "PluginError",
    "ShapeError",
    "StoreError",
    "ThresholdUnmetError",
    "UsageError",
    "did_you_mean",
    "printable",
]

MANY = 12
"""Maximal length of a printed list of names if a similar name is known."""


class BridgeError(Exception):
    """Root of all expected errors. The command line prints it as one paragraph and exits with `exit_code`.

    Args:
        what: What happened, as a sentence.
        cause: The likely cause, as a sentence; empty if `what` already states the cause.
        remedy: The next step, as a sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, cause: str = "", remedy: str = "") -> None:
        self.what, self.cause, self.remedy = what, cause, remedy
        super().__init__(" ".join(part for part in (what, cause, remedy) if part))

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the three sentences apart where an error comes from another process."""
        return partial(type(self), cause=self.cause, remedy=self.remedy), (self.what,)


@final
class UsageError(BridgeError):
    """The request is invalid: an unknown name, layer, option or combination."""

    exit_code = 2


@final
class ModelUnavailableError(BridgeError):
    """A model's weights are not on this machine and cannot be downloaded, or are gated."""

    exit_code = 3


@final
class ThresholdUnmetError(BridgeError):
    """A metric is below the threshold of `--require`."""

    exit_code = 4


@final
class ShapeError(BridgeError, ValueError):
    """An array has the wrong shape; the message names both shapes."""


@final
class CorpusError(BridgeError):
    """A corpus cannot be read, or has too few documents."""


@final
class ModelError(BridgeError):
    """A loaded model's layout or activations differ from its adapter's declaration."""


@final
class MapError(BridgeError):
    """A map cannot be fitted, inverted or restored."""


class StoreError(BridgeError):
    """The cache or an output folder cannot be written or read."""


@final
class CorruptArtifactError(StoreError):
    """A stored file differs from the written file (flipped byte, truncated, renamed)."""


class PluginError(BridgeError):
    """A plugin is broken, or two plugins claim the same name."""


@final
class EngineError(BridgeError):
    """An engine cannot be reached, or has no fit workers."""


@final
class ConformanceError(BridgeError, AssertionError):
    """A plugin breaks a law of its contract; the message states the law, the input and by how much."""


def printable(text: str) -> str:
    """Return text with escapes for characters that could control the user's terminal or deceive its reader.

    These are control characters, reordering and invisible characters, unusual spaces, and lone surrogates, which
    stand for bytes of paths that are not UTF-8.

    Args:
        text: Text of any origin.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else _escape(ord(c)) for c in text)


def _escape(code: int) -> str:
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the most similar known names, or with all known names if none is similar.

    Args:
        name: The unknown name.
        known: The known names.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near and len(names) > MANY:
        return f"Did you mean {' or '.join(near)}?"
    suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{suggestion}Installed: {', '.join(names) or 'none'}."
