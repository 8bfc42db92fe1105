"""The bytes of a safetensors file, as buffers that are hashed and written without a copy.

`safetensors.torch.save` copies everything while it holds the interpreter's lock, 0.12 to 0.8 s for a shard of 215 MB,
so a thread that saves would stop the thread that runs the model. `save_file` writes a temporary file under a name of
its own, which only its owner may read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

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
