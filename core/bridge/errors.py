"""Every error that bridge raises on purpose: what happened, the likely cause, the next step."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import final

__all__ = [
    "BridgeError",
    "ConformanceError",
    "CorpusError",
    "CorruptArtifactError",
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
"""Lists of names longer than this are not printed whole where a near name is known."""


class BridgeError(Exception):
    """Root of all expected errors. The command line prints it as one paragraph and exits with `exit_code`.

    Args:
        what: What happened, as a sentence.
        cause: The likely cause, as a sentence; empty where `what` already tells it.
        remedy: The next step, as a sentence.
    """

    exit_code = 1

    def __init__(self, what: str, *, cause: str = "", remedy: str = "") -> None:
        self.what, self.cause, self.remedy = what, cause, remedy
        super().__init__(" ".join(part for part in (what, cause, remedy) if part))


@final
class UsageError(BridgeError):
    """The request itself cannot be right: an unknown name, layer, option or combination."""

    exit_code = 2


@final
class ModelUnavailableError(BridgeError):
    """A model's weights are not on this machine and cannot be fetched, or are gated."""

    exit_code = 3


@final
class ThresholdUnmetError(BridgeError):
    """A metric stayed below what `--require` asked for."""

    exit_code = 4


@final
class ShapeError(BridgeError, ValueError):
    """An array has the wrong shape; the message names both shapes."""


@final
class CorpusError(BridgeError):
    """A corpus cannot be read, or holds too little."""


@final
class ModelError(BridgeError):
    """A model loaded, but its layout or its activations are not what its adapter says."""


@final
class MapError(BridgeError):
    """A map cannot be fitted, inverted or restored."""


class StoreError(BridgeError):
    """The cache or an output folder cannot be written or read."""


@final
class CorruptArtifactError(StoreError):
    """A stored file is not the one that was written (flipped byte, truncated, renamed)."""


class PluginError(BridgeError):
    """A plugin is broken, or two plugins claim the same name."""


@final
class ConformanceError(BridgeError, AssertionError):
    """A plugin breaks a law of its contract; the message states the law, the input and by how much."""


def printable(text: str) -> str:
    """Return text without control characters: models, corpora and plugins must not steer the user's terminal.

    Args:
        text: Of whatever origin.
    """
    return "".join(c if c.isprintable() or c in "\n\t" else f"\\x{ord(c):02x}" for c in text)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the nearest known names, or all of them where none is near.

    Args:
        name: What was written.
        known: What there is.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if near and len(names) > MANY:
        return f"Did you mean {' or '.join(near)}?"
    suggestion = f"Did you mean {' or '.join(near)}? " if near else ""
    return f"{suggestion}Installed: {', '.join(names) or 'none'}."
