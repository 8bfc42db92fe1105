"""Named directions on disk: a safetensors file of float vectors, one row a direction, or labelled rows to make one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.store import write_bytes

__all__ = ["read_arrays", "write_arrays"]


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every tensor of a safetensors file; bfloat16 and float16 come back as float32.

    Raises:
        BridgeError: If the file is missing, truncated or not safetensors.
    """
    import torch
    from safetensors.torch import load

    try:
        tensors = load(path.read_bytes())
        half = (torch.bfloat16, torch.float16)
        return {name: (tensor.float() if tensor.dtype in half else tensor).numpy() for name, tensor in tensors.items()}
    except Exception as error:  # safetensors raises its own kinds for every way a file can be damaged
        raise BridgeError(
            f"{path} is not a readable safetensors file ({error}).",
            cause="It is missing, truncated, of another format, or holds a dtype that numpy does not have.",
        ) from error


def read_vectors(path: Path) -> dict[str, NDArray[np.floating]]:
    """Read every tensor of a safetensors file as vectors; half precision comes back as float32.

    Raises:
        BridgeError: As `read_arrays`, or if a tensor holds NaN or infinite values, or is no float tensor.
    """
    return {name: _finite(array, name, path) for name, array in read_arrays(path).items()}


@final
@dataclass(frozen=True)
class LabelledRows:
    """Activations of one site in two classes.

    Attributes:
        name: Of the file.
        rows: (n, d_model) float.
        labels: (n,) integers: 0 for the first class, 1 for the second.
    """

    name: str
    rows: NDArray[np.floating]
    labels: NDArray[np.integer]

    def difference(self) -> NDArray[np.float64]:
        """Return mean(first class) - mean(second class), (d_model,)."""
        first, second = (self.rows[self.labels == label].mean(0, dtype=np.float64) for label in (0, 1))
        difference: NDArray[np.float64] = first - second
        return difference


def read_labelled_rows(path: Path) -> LabelledRows:
    """Read a safetensors file of `rows`, (n, d_model) float, and `labels`, (n,) integers, 0 and 1.

    Raises:
        BridgeError: As `read_vectors`, or if the tensors do not go together, or a class is missing.
    """
    arrays = read_arrays(path)
    if set(arrays) != {"rows", "labels"}:
        raise BridgeError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}.",
            remedy="Labelled rows are two tensors: rows (n, d_model) float, and labels (n,) integers.",
        )
    rows, labels = _finite(arrays["rows"], "rows", path), arrays["labels"]
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise BridgeError(
            f"{path} has rows of shape {rows.shape} and labels of shape {labels.shape}, {labels.dtype}.",
            remedy="Give rows (n, d_model) float, and labels (n,) integers: one a row.",
        )
    found = sorted(set(labels.tolist()))
    if found != [0, 1]:
        said = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        raise BridgeError(
            f"The labels of {path} are {said or 'none'}; a difference of means is of two classes, 0 and 1.",
            remedy="Label the first class 0 and the second 1, and leave rows of other classes out.",
        )
    return LabelledRows(path.name, rows, labels)


def _finite(array: NDArray[Any], name: str, path: Path) -> NDArray[np.floating]:
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise BridgeError(f"The tensor {name} of {path} is not all finite floats.")
    return array


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write arrays as one safetensors file, whole or not at all.

    Give at most one entry of metadata: safetensors writes several in random order, and equal files would differ.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    from safetensors.numpy import save

    # Not `ascontiguousarray`, which gives a scalar a dimension.
    data = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_bytes(path, save(data, metadata))
