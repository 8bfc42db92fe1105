"""What is asked of NDIF: how requests are sent, and which revision of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from bridge.references import parse_reference
from bridge.sources import Checkpoint

MAIN = "main"


@final
@dataclass(frozen=True)
class Asked:
    """How requests are sent; the options of `Ndif`."""

    mode: Literal["remote", "local"]
    texts: int
    patience: int
    wait: int
    deploy: bool


def revision_of(model: Checkpoint) -> str:
    """Return the revision that NDIF is asked for: what the user named, or `main`."""
    return parse_reference(model.name).revision or MAIN
