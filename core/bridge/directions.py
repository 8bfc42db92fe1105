"""Named directions on disk: a safetensors file of float vectors, one direction per row, or of labelled rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.files import write_bytes
from bridge.safetensors_file import read_tensors

__all__ = ["read_arrays", "write_arrays"]


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every tensor of a safetensors file; bfloat16 and float16 are read as float32.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        BridgeError: If the file is missing, truncated or not safetensors.
    """
    import torch

    try:
        tensors = read_tensors(path)
        half = (torch.bfloat16, torch.float16)
        # Copied, because the file may be changed later.
        plain = {name: one.float() if one.dtype in half else one.clone() for name, one in tensors.items()}
        return {name: one.numpy() for name, one in plain.items()}
    except BridgeError:
        raise
    except Exception as error:  # OSError, ValueError; numpy's and torch's for dtypes that they do not share
        raise BridgeError(
            f"{path} is not a readable safetensors file ({error}).",
            cause="The file is missing, truncated, of another format, or has a dtype that numpy does not support.",
        ) from error


def read_vectors(path: Path) -> dict[str, NDArray[np.floating]]:
    """Read every tensor of a safetensors file as vectors; half precision is read as float32.

    Raises:
        BridgeError: As `read_arrays`, or if a tensor holds NaN or infinite values, or is not a float tensor.
    """
    return {name: _finite(array, name, path) for name, array in read_arrays(path).items()}


def _finite(array: NDArray[Any], name: str, path: Path) -> NDArray[np.floating]:
    if not np.issubdtype(array.dtype, np.floating) or not np.isfinite(array).all():
        raise BridgeError(f"The tensor {name} of {path} has values that are not finite floats.")
    return array


def write_arrays(path: Path, arrays: dict[str, NDArray[Any]], metadata: dict[str, str]) -> None:
    """Write arrays as one safetensors file, atomically.

    Give at most one entry of metadata: safetensors writes several entries in random order, so equal content would give
    different files.

    Args:
        path: The file; an existing file is replaced.
        arrays: Arrays by name, of any numpy dtype.
        metadata: Metadata of the file.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    from safetensors.numpy import save

    # `ascontiguousarray` would add a dimension to a scalar.
    data = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_bytes(path, save(data, metadata))
