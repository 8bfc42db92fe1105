"""Safetensors files: reading those of unknown sources, and their bytes as buffers that are written without a copy.

`safetensors.torch.save` copies everything while it holds the interpreter's lock, 0.12 to 0.8 s for a shard of 215 MB,
so a thread that saves would stop the thread that runs the model. `save_file` writes a temporary file under a name of
its own, which only its owner may read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.files.bounded import open_plain
from bridge.files.limits import need_within

if TYPE_CHECKING:
    from torch import Tensor

NAMES = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "float32": "F32",
    "float64": "F64",
    "int64": "I64",
}
"""The format's names of torch's dtypes, in the order of the library: later ones come first in a file."""

ALIGNMENT = 8


@contextmanager
def open_tensors(path: Path, framework: str = "pt") -> Iterator[Any]:
    """Open a file, as `safetensors.safe_open` does, after a look at the length of its header.

    Args:
        path: The file.
        framework: `pt` or `np`, for the type of the tensors.

    Returns:
        A context with the open file.

    Raises:
        OSError: If the file is missing, cannot be read, or is no plain file.
        ValueError: If it is not a safetensors file, or has no tensor of a name that is asked for.
        BridgeError: If its header exceeds the limit `metadata`.
    """
    from safetensors import SafetensorError, safe_open

    with open_plain(path) as file:
        length = int.from_bytes(file.read(8), "little")
        size = path.stat().st_size
    if not 0 < length <= size - 8:
        raise ValueError(f"its header should have {length} bytes, and the file has {size}")
    need_within("metadata", length, f"The header of {path}")
    try:
        with safe_open(path, framework) as opened:
            yield opened
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Map every tensor of a file into memory.

    Raises:
        OSError: As `open_tensors`.
        ValueError: As `open_tensors`.
        BridgeError: As `open_tensors`.
    """
    with open_tensors(path) as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict


def pieces(tensors: Mapping[str, Tensor]) -> list[bytes | memoryview]:
    """Return the content of a file: its header, and a view of every tensor; equal to `safetensors.torch.save`.

    The format: https://huggingface.co/docs/safetensors#format.

    Args:
        tensors: Contiguous tensors on the CPU; they must not change while the views are used.

    Raises:
        KeyError: If a dtype is none of `NAMES`.
    """
    import torch

    dtypes = list(NAMES)
    named = [(str(tensor.dtype).removeprefix("torch."), name, tensor) for name, tensor in tensors.items()]
    header, views, end = {}, [], 0
    for dtype, name, tensor in sorted(named, key=lambda one: (-dtypes.index(one[0]), one[1])):
        view = tensor.reshape(-1).view(torch.uint8).numpy().data
        begin, end = end, end + view.nbytes
        header[name] = {"dtype": NAMES[dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        views.append(view)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return [len(text).to_bytes(8, "little") + text, *views]
