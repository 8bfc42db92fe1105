"""The laws of map types."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from pathlib import Path

import numpy as np

from bridge.directions import read_arrays, write_arrays
from bridge.errors import MapError
from bridge.maps import Array, FittedMap, Map, TrainingData
from bridge.testing.laws import Laws
from bridge.testing.synthetic import PairedWorld

WIDTHS = ((12, 12), (9, 14), (14, 9))
_TOLERANCE = 1e-9  # float64; matrix products of different sizes round differently


def check_map(map_type: type[Map]) -> None:
    """Test the laws of `bridge.maps.Map` and `FittedMap` on one map type, with its default options.

    The map is fitted on 1,200 float32 rows whose two sides share six dimensions, plus noise and large means, from 12 to
    12, 9 to 14 and 14 to 9 dimensions; a map type may refuse unequal widths with a `MapError`.

    Args:
        map_type: The class that the plugin registers.

    Raises:
        ConformanceError: If a law is broken.
    """
    laws = Laws(f"The map {getattr(map_type, 'name', map_type.__name__)}", "bridge.maps.Map and FittedMap")
    law = "a map type is a frozen dataclass with defaults for all options"
    # Every map inherits from a frozen dataclass; only its own decorator turns its annotations into options.
    options = {field.name for field in dataclasses.fields(map_type)}
    annotated = {
        name for name, kind in vars(map_type).get("__annotations__", {}).items() if "ClassVar" not in str(kind)
    }
    laws.require(annotated <= options, law, "the class", "it is not decorated with @dataclass(frozen=True)")
    try:
        kind = map_type()
    except TypeError as error:
        laws.require(False, law, "no options", str(error))
        return
    for d_src, d_dst in WIDTHS:
        world = PairedWorld(d_src, d_dst)
        data = world.training_data()
        try:
            fitted = kind.fit(data)
        except MapError as error:
            laws.require(d_src != d_dst, "models of equal widths can be fitted", f"widths {d_src}", str(error))
            continue
        x = world.rows(200, seed=1)[0]
        given = f"rows of {d_src} dimensions mapped to {d_dst}"
        _check_points(laws, fitted, x, (d_src, d_dst), given)
        _check_directions(laws, fitted, x, given)
        _check_inverse(laws, fitted, x, given)
        _check_restored(laws, kind, fitted, x, given)
        _check_repeatable(laws, kind, fitted, data, x, given)


def _check_points(laws: Laws, fitted: FittedMap, x: np.ndarray, widths: tuple[int, int], given: str) -> None:
    law = "for x of shape (n, d_src), map(x) has shape (n, d_dst), is finite float64, and maps each row independently"
    found = (fitted.d_src, fitted.d_dst)
    laws.require(found == widths, law, given, f"the fitted map declares the widths {found}")
    for rows in (x, x.astype(np.float64), x[:1], x[:0]):
        shape = f"{given}, shape {rows.shape}, {rows.dtype}"
        laws.shape(law, shape, fitted(rows), (len(rows), widths[1]), np.float64)
        laws.shape(law, f"{shape}, as directions", fitted.direction(rows), (len(rows), widths[1]), np.float64)
    for move, what in ((fitted, "points"), (fitted.direction, "directions")):
        whole = move(x)
        alone = np.concatenate([move(x[i : i + 1]) for i in range(len(x))])
        laws.close(law, f"{given}: {len(x)} {what} one at a time against all at once", alone, whole, _TOLERANCE)


def _check_directions(laws: Laws, fitted: FittedMap, x: np.ndarray, given: str) -> None:
    x = x.astype(np.float64)
    v = x - x.mean(0)
    moved = fitted.direction(v)
    law = "direction is positively homogeneous and does not use means"
    for scale in (0.0, 1e-3, 7.0):
        size = float(np.abs(moved).max())
        laws.close(law, f"{given}: directions times {scale:g}", fitted.direction(scale * v), scale * moved, 1e-6, size)
    points = fitted(x)
    size = float(np.abs(points).max())
    middle = fitted((x + x[::-1]) / 2) - (points + points[::-1]) / 2
    if np.abs(middle).max() <= 1e-6 * size:
        law = "direction(v) = map(x + v) - map(x) for an affine map"
        laws.close(law, given, moved, fitted(x[::-1] + v) - points[::-1], 1e-6, size)


def _check_inverse(laws: Laws, fitted: FittedMap, x: np.ndarray, given: str) -> None:
    with contextlib.suppress(MapError):
        back = fitted.inverse()
        laws.close("inverse()(map(x)) = x if the inverse exists", given, back(fitted(x)), x, 1e-4)


def _check_restored(laws: Laws, kind: Map, fitted: FittedMap, x: np.ndarray, given: str) -> None:
    law = "Map.restore(map.arrays()) gives the same map, bit for bit"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.safetensors"
        write_arrays(path, fitted.arrays(), {})
        again = kind.restore(read_arrays(path))
    laws.close(law, f"{given}, written and read back", again(x), fitted(x), 0.0)
    laws.close(law, f"{given}, written and read back, as directions", again.direction(x), fitted.direction(x), 0.0)


def _check_repeatable(laws: Laws, kind: Map, fitted: FittedMap, data: TrainingData, x: np.ndarray, given: str) -> None:
    again: Array = kind.fit(data)(x)
    laws.close("fitting twice gives the same map", given, again, fitted(x), _TOLERANCE)
