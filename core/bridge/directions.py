"""Named directions on disk: a safetensors file of float vectors, one direction per row, or of labelled rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, CorruptArtifactError
from bridge.files import write_bytes, write_file
from bridge.files.safetensors import read_tensors
from bridge.files.sealed_arrays import UNSEALED, seal_arrays, seal_holds

__all__ = ["read_arrays", "write_arrays"]

KEY = "residual-bridge"
"""Key of the metadata of files that bridge seals."""


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read every tensor of a safetensors file; bfloat16 and float16 are read as float32.

    Args:
        path: The file.

    Returns:
        Arrays by name.

    Raises:
        BridgeError: If the file is missing, truncated or not safetensors.
        CorruptArtifactError: If bridge sealed the file, and it was changed since.
    """
    import torch

    try:
        intact = seal_holds(path, KEY)
        tensors = read_tensors(path)
        half = (torch.bfloat16, torch.float16)
        # Copied, because the file may be changed later.
        plain = {name: one.float() if one.dtype in half else one.clone() for name, one in tensors.items()}
        arrays = {name: one.numpy() for name, one in plain.items()}
    except BridgeError:
        raise
    except Exception as error:  # OSError, ValueError; numpy's and torch's for dtypes that they do not share
        raise BridgeError(
            f"{path} is not a readable safetensors file ({error}).",
            cause="The file is missing, truncated, of another format, or has a dtype that numpy does not support.",
        ) from error
    if not intact:
        raise CorruptArtifactError(
            f"{path} is not the file that was written.",
            cause="Its hash is not in its metadata: it was damaged or edited, or an older version wrote it.",
            remedy="Copy the file again, or repeat the command that wrote it.",
        )
    return arrays


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
    write_bytes(path, _saved(arrays, metadata))


def write_record(path: Path, arrays: dict[str, NDArray[Any]], record: Mapping[str, Any]) -> None:
    """Write arrays as `write_arrays` does, with a record as metadata, and the hash of the file in it.

    Raises:
        StoreError: If the disk is full or read-only.
    """

    def fill(temporary: Path) -> None:
        temporary.write_bytes(_saved(arrays, {KEY: json.dumps({**record, **UNSEALED})}))
        seal_arrays(temporary)

    write_file(path, fill)


def _saved(arrays: Mapping[str, NDArray[Any]], metadata: dict[str, str]) -> bytes:
    from safetensors.numpy import save

    # `ascontiguousarray` would add a dimension to a scalar.
    saved: bytes = save({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)
    return saved
