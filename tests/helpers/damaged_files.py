"""Every way in which a file is damaged: bytes flipped, cut, emptied, swapped, replaced by another form."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bridge.files.sealed import read_kept, write_kept

Damage = Callable[[Path, Sequence[Path], random.Random], bool]
"""Damages a file, which may be swapped with one of others; False if it cannot be damaged so."""


def flip(path: Path, others: Sequence[Path], draw: random.Random) -> bool:
    data = bytearray(path.read_bytes())
    data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    path.write_bytes(data)
    return True


def truncate(path: Path, others: Sequence[Path], draw: random.Random) -> bool:
    data = path.read_bytes()
    path.write_bytes(data[: draw.randrange(1, len(data))])
    return True


def empty(path: Path, others: Sequence[Path], draw: random.Random) -> bool:
    path.write_bytes(b"")
    return True


def swap(path: Path, others: Sequence[Path], draw: random.Random) -> bool:
    """Put the content of another file of the same kind there."""
    before = path.read_bytes()
    there = [other for other in others if other.suffix == path.suffix and other.read_bytes() != before]
    if there:
        shutil.copyfile(draw.choice(there), path)
    return bool(there)


def other_form(path: Path, others: Sequence[Path], draw: random.Random) -> bool:
    """Put a valid file there that does not hold what it should; in the cache, one with the right hash."""
    if path.suffix == ".safetensors":
        save_file({"other": np.ones(3, np.float32)}, path)
    elif read_kept(path, object) is not None:
        write_kept(path, draw.choice([[], {}, 7, "text", [[1]], None, {"explanations": [], "notes": []}]))
    else:
        path.write_text({".toml": "seed = 1\n", ".html": "<p>mine</p>"}.get(path.suffix, '{"schema": 1}\n'))
    return True


DAMAGES: dict[str, Damage] = {
    **{f"flip {number}": flip for number in range(4)},
    "truncate": truncate,
    "empty": empty,
    "swap": swap,
    "other form": other_form,
}


def batches(files: Iterable[Path], most: int) -> Iterator[list[Path]]:
    """Divide files, so that none is in one batch with a file of its folder that is read with it."""
    left = sorted(files)
    while left:
        batch: list[Path] = []
        for path in left:
            alone = path.parent.name in ("hashes", "explanations")
            if len(batch) < most and (alone or all(path.parent != other.parent for other in batch)):
                batch.append(path)
        left = [path for path in left if path not in batch]
        yield batch
