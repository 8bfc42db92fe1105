"""Results of transferring vectors through a bridge, and reading their input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.directions import read_vectors
from bridge.errors import BridgeError, ShapeError
from bridge.pipeline.arrays import to_numpy
from bridge.pipeline.result import Result

Named = Path | Mapping[str, Any]
"""Vectors by name: a safetensors file, or arrays of numpy or torch."""


@final
@dataclass(frozen=True)
class Transferred(Result):
    """Directions or probes, transferred through a bridge.

    Attributes:
        arrays: Transferred arrays by name: numpy or torch as given, numpy if they came from a file.
        gains: For each name the mean ratio of a row's length after the map to its length before, without zero rows.
        provenance: Source, destination, map, and origin of the vectors.
        held_out: For each probe the agreement of its outputs on the destination's held-out activations with the given
            probe's outputs on the source's: `ev` (explained variance), `low`, `high`, `n`, `r` (correlation) and
            `spread` (ratio of standard deviations). For each name of directions the correlation `r` of projections,
            with `low`, `high`, `n`. Each has the scores of the mispaired control, as `mispaired`. Empty if not scored.
    """

    arrays: dict[str, Any]
    gains: dict[str, float]
    provenance: dict[str, Any]
    held_out: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        gains = ", ".join(f"{name} {gain:.3f}" for name, gain in self.gains.items())
        return f"Transferred({self.provenance['src']} -> {self.provenance['dst']}: gains {gains})"

    def document(self) -> dict[str, Any]:
        """Return shape, gain and score of every transferred array, as JSON.

        Returns:
            By name `shape` (a list), `gain`, and `held_out` if scored.
        """
        said = {name: {"shape": list(self.arrays[name].shape), "gain": gain} for name, gain in self.gains.items()}
        return {
            name: row | ({"held_out": self.held_out[name]} if name in self.held_out else {})
            for name, row in said.items()
        }

    def records(self) -> list[dict[str, Any]]:
        """Return a row for each name.

        Returns:
            Rows of `name`, `shape` (a tuple), `gain`, and the scores of `held_out` if scored.
        """
        return [
            {
                "name": name,
                "shape": tuple(self.arrays[name].shape),
                "gain": self.gains[name],
                **self.held_out.get(name, {}),
            }
            for name in self.gains
        ]


def read_named(source: Named) -> tuple[dict[str, NDArray[np.floating]], str]:
    """Return vectors as numpy, and the name of their origin.

    Raises:
        ShapeError: If a value is not an array.
        BridgeError: If a tensor has values that are not finite floats, or the file is not readable.
    """
    if isinstance(source, Path):
        return read_vectors(source), source.name
    found = {}
    for name, given in source.items():
        try:
            found[name] = to_numpy(given)
        except ShapeError as error:
            raise ShapeError(f"{name}: {error.what}") from error
        if not np.issubdtype(found[name].dtype, np.floating) or not np.isfinite(found[name]).all():
            raise BridgeError(f"The array {name} has values that are not finite floats.")
    return found, "arrays"


def gain(given: NDArray[np.floating], moved: NDArray[np.floating]) -> float:
    """Return the mean of ||moved|| / ||given|| over rows, without zero rows.

    Args:
        given: (n, d_src) or (d_src,).
        moved: (n, d_dst) or (d_dst,).
    """
    lengths = np.linalg.norm(np.atleast_2d(given), axis=1)
    kept = np.linalg.norm(np.atleast_2d(moved), axis=1)[lengths > 0] / lengths[lengths > 0]
    return float(kept.mean()) if len(kept) else 0.0
