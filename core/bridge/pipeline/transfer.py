"""Carry named directions through a bridge, file to file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.directions import read_arrays, write_arrays
from bridge.errors import BridgeError, UsageError
from bridge.pipeline.bridge import Bridge


def transfer_directions(bridge: Bridge, source: Path, out: Path) -> dict[str, Any]:
    """Move every tensor of a safetensors file as directions (steering vectors, probes, decoder rows).

    Args:
        bridge: The bridge to carry them through.
        source: Tensors of shape (n, d_src) or (d_src,), any float type.
        out: Where the moved tensors go, under the same names, float32; refuses to overwrite.

    Returns:
        For each name the shape and, for its rows, the mean of ||moved|| / ||given||: how much of them the map keeps.

    Raises:
        UsageError: If `out` exists.
        ShapeError: If a tensor has another width.
        BridgeError: If a tensor holds NaN or infinite values, or is no float tensor.
    """
    if out.exists():
        raise UsageError(f"{out} already exists; nothing is overwritten.", remedy="Choose another --out.")
    given = read_arrays(source)
    moved: dict[str, NDArray[Any]] = {}
    report: dict[str, Any] = {}
    for name, vectors in given.items():
        if not np.issubdtype(vectors.dtype, np.floating) or not np.isfinite(vectors).all():
            raise BridgeError(f"The tensor {name} of {source} is not all finite floats.")
        result = bridge.direction(vectors)
        moved[name] = result.astype(np.float32)
        lengths = np.linalg.norm(np.atleast_2d(vectors), axis=1)
        kept = np.linalg.norm(np.atleast_2d(result), axis=1)[lengths > 0] / lengths[lengths > 0]
        report[name] = {"shape": list(result.shape), "gain": float(kept.mean()) if len(kept) else 0.0}
    record = {"src": bridge.src, "dst": bridge.dst, "map": bridge.map, "from": source.name}
    write_arrays(out, moved, {"residual-bridge": json.dumps(record)})
    return report
