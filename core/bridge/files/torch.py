"""Files of `torch.save` from unknown sources: plain tensors only, and no more of them than the file has bytes for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.files.archives import need_unpacked
from bridge.files.bounded import need_room, open_plain

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_plain"]

SINGLE = 4
"""Bytes of a float32, which smaller floats become."""


def load_plain(path: Path, device: str = "cpu") -> Any:
    """Load a file; nothing but tensors and plain values is unpickled.

    A tensor can claim more elements than its storage has, by strides of 0, and takes memory for all of them when it is
    copied.

    Args:
        path: The file.
        device: `cpu`, or `meta` for the shapes without the values.

    Returns:
        What the file holds.

    Raises:
        BridgeError: If the file or its tensors exceed the limit `arrays` and twice the file's size.
        Exception: Whatever zipfile, pickle and torch raise for files that are missing, damaged, or hold code.
    """
    import torch

    with open_plain(path) as file:
        need_unpacked(path, file)
        found = torch.load(file, map_location=device, weights_only=True)
    need_room(path, sum(one.numel() * max(one.element_size(), SINGLE) for one in _tensors(found)))
    return found


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield every tensor, each container once: containers may hold themselves."""
    import torch

    seen: set[int] = set()
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, torch.Tensor):
            yield one
        elif isinstance(one, (Mapping, list, tuple)) and id(one) not in seen:
            seen.add(id(one))
            waiting += one.values() if isinstance(one, Mapping) else one
