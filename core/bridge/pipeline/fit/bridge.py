"""A fitted bridge: moves points and directions, and is saved as a folder of safetensors and JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, final

import numpy as np
from markupsafe import Markup
from pydantic import TypeAdapter

from bridge.directions import read_arrays, write_record
from bridge.display import notebook
from bridge.errors import BridgeError, CorruptArtifactError, MapError, UsageError
from bridge.files.sealed import sha256_of
from bridge.maps import Array, FittedMap, Map, check_width
from bridge.pipeline.arrays import as_given, to_numpy
from bridge.pipeline.fit.record import ARRAYS, BRIDGE_RECORD, OPTIONS, RESULTS, SCHEMA, BridgeRecord, read_record
from bridge.pipeline.readings import Readings
from bridge.pipeline.result import Shown
from bridge.plugins.discovery import discover
from bridge.plugins.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Activations = TypeVar("Activations", "NDArray[Any]", "Tensor")
INVERSE, BACK = "inverse of ", "way back of "
OF_BACK = "back/"
"""Prefix of the names of the reverse map's arrays, in the same file."""


class Explainer(Protocol):
    """Runs a bridge's models: the source on texts, and the destination's verbalizer on its activations."""

    def __call__(self, bridge: Bridge, texts: Sequence[str], /, *, every: int, verbalizer: str) -> Readings:
        """Return a reading for each token."""


@final
@dataclass(frozen=True, eq=False)
class Bridge(Shown):
    """A map from one model's residual stream to another's, with where it came from: a value, which runs no model.

    Attributes:
        src: Source reference, layer included.
        dst: Destination reference, layer included.
        map: Name of the map type.
        options: Options of the map type, as scalars.
        fitted: The fitted map.
        provenance: Models, corpus, split, counts, versions and values that fitting chose.
        fitted_back: The reverse map: the same map type fitted from destination to source on the same rows; None if it
            could not be fitted, or was not saved (before 0.1.0).
        explainer: What `explain` calls: `bridge.explain_through` in what `fit`, `run` and `load` return.
    """

    src: str
    dst: str
    map: str
    options: dict[str, Any]
    fitted: FittedMap
    provenance: dict[str, Any]
    fitted_back: FittedMap | None = None
    explainer: Explainer | None = None

    def __repr__(self) -> str:
        return f"Bridge({self.src} [{self.fitted.d_src}] -> {self.dst} [{self.fitted.d_dst}], {self.map})"

    def __call__(self, x: Activations) -> Activations:
        """Move activations of the source model into the destination model's space.

        Args:
            x: (n, d_src) or (d_src,), numpy or torch on any device, any float type; contiguous or not.

        Returns:
            (n, d_dst) or (d_dst,), numpy or torch as given, on the same device; float64 for float64, else float32 (also
            for bfloat16 and half precision). Computed in float64 on the CPU; no gradient flows through.

        Raises:
            ShapeError: If the last dimension is not d_src, or the value is not an array.
        """
        moved: Activations = self._apply(self.fitted, x)
        return moved

    def direction(self, v: Activations) -> Activations:
        """Move directions (decoder rows, steering vectors): the linear part only, no means.

        Args:
            v: (n, d_src) or (d_src,), as for a call.

        Returns:
            (n, d_dst) or (d_dst,), as from a call.

        Raises:
            ShapeError: If the last dimension is not d_src, or the value is not an array.
        """
        moved: Activations = self._apply(self.fitted.direction, v)
        return moved

    def inverse(self) -> Bridge:
        """Return the exact inverse of the map, which gives x for b(x).

        The inverse does not predict the source's activations from the destination's: a map that shrinks directions
        (ridge) has an inverse that amplifies them. Use `back` for predictions.

        Raises:
            MapError: If the map loses dimensions.
        """
        return self._turned(INVERSE, self.fitted.inverse())

    def back(self) -> Bridge:
        """Return the reverse map: the same map type, fitted from the destination to the source on the same rows.

        Raises:
            MapError: If none was saved.
        """
        if self.fitted_back is None:
            raise MapError(
                f"The bridge from {self.src} to {self.dst} has no reverse map.",
                cause="It was fitted by an earlier version, or its map cannot be fitted in the other direction.",
                remedy="Fit it again (bridge fit FOLDER/config.toml --out NEW); the reverse map is now saved.",
            )
        return self._turned(BACK, self.fitted_back)

    @property
    def is_inverse(self) -> bool:
        """Whether this bridge is a result of `inverse` or `back`."""
        return self.map.startswith((INVERSE, BACK))

    def explain(self, texts: Sequence[str], every: int = 1, verbalizer: str = "") -> Readings:
        """Explain the source's activations on some texts with the destination's verbalizer: `bridge.explain_through`.

        Args:
            texts: Texts to run the source on.
            every: Explain every n-th token, counted from the last.
            verbalizer: The verbalizer, as `nla:checkpoint=FOLDER`; default: the destination's own.

        Returns:
            One reading per token, and the fraction of the activations that the explanations reconstruct.

        Raises:
            UsageError: If the destination has no verbalizer, this is an inverse, or it was put together by hand.
            BridgeError: If a model or the verbalizer cannot be had.
        """
        if self.explainer is None:
            raise UsageError(
                "This bridge was put together by hand, and has nothing that runs its models.",
                remedy="Call bridge.explain_through(b, texts), or give it as `explainer`.",
            )
        return self.explainer(self, texts, every=every, verbalizer=verbalizer)

    def save(self, folder: str | Path) -> None:
        """Write `bridge.safetensors`, including the reverse map if there is one, and `bridge.json`.

        Args:
            folder: The folder; it is created if missing. Another bridge in the folder, or files of other results, are
                never overwritten; a folder that holds this bridge is left as it is.

        Raises:
            UsageError: If the folder holds another bridge.
            StoreError: If the disk is full or read-only.
            MapError: If this bridge is an inverse: save the original bridge and invert it after loading.
        """
        if self.is_inverse:
            raise MapError(
                "An inverse cannot be saved.", remedy="Save the bridge, and call inverse() or back() after loading it."
            )
        path = Path(folder)
        if not self._is_saved(path):
            write_bridge(self, path)

    def _is_saved(self, path: Path) -> bool:
        """Tell whether a folder holds this bridge; refuse one that holds another."""
        if not any((path / name).exists() for name in (BRIDGE_RECORD, ARRAYS, *OPTIONS, *RESULTS)):
            return False
        with contextlib.suppress(BridgeError):
            if _same(load_bridge(path), self):
                return True
        raise UsageError(
            f"{path} already holds another bridge or results, which are not overwritten.",
            remedy="Choose another folder, or move the old files.",
        )

    def _shown(self) -> list[Markup]:
        rows = self.provenance.get("rows", {})
        counts = {name.replace("_", " "): rows[name] for name in ("training_rows", "held_out_rows") if name in rows}
        about = {"source": self.src, "destination": self.dst, "map": self.map}
        return [notebook.facts(about | self.options | dict(self.fitted.chosen()) | counts)]

    def _turned(self, how: str, fitted: FittedMap) -> Bridge:
        name = f"{how}{self.map}"
        return replace(self, src=self.dst, dst=self.src, map=name, fitted=fitted, fitted_back=self.fitted)

    def _apply(self, move: Callable[[NDArray[np.floating]], Array], rows: Any) -> Any:
        given = to_numpy(rows)
        check_width(np.atleast_2d(given), self.fitted.d_src, "The input")
        moved = move(np.atleast_2d(given)).reshape(*given.shape[:-1], self.fitted.d_dst)
        return as_given(moved, rows)


def write_bridge(bridge: Bridge, folder: Path, others: Iterable[str] = ()) -> None:
    """Write like `Bridge.save`, but replace existing files; for a folder that belongs to this bridge.

    Args:
        bridge: The bridge.
        folder: The folder.
        others: Names of files there that the record binds to the bridge, if they exist.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    back = bridge.fitted_back.arrays() if bridge.fitted_back is not None else {}
    arrays = bridge.fitted.arrays() | {OF_BACK + name: array for name, array in back.items()}
    write_record(folder / ARRAYS, arrays, {"schema": SCHEMA})
    BridgeRecord(
        src=bridge.src,
        dst=bridge.dst,
        map=bridge.map,
        map_options=bridge.options,
        d_src=bridge.fitted.d_src,
        d_dst=bridge.fitted.d_dst,
        way_back=bridge.fitted_back is not None,
        files=sha256_of(folder, (ARRAYS, *others)),
        provenance=bridge.provenance,
    ).write(folder)


def load_bridge(folder: str | Path, registry: Registry | None = None) -> Bridge:
    """Read a bridge that `Bridge.save` or `bridge run` wrote.

    Args:
        folder: The folder.
        registry: Installed plugins; discovered by default.

    Raises:
        BridgeError: If the folder has no bridge, or a newer version wrote it.
        CorruptArtifactError: If a file is damaged or belongs to another bridge.
        UsageError: If the map's plugin is not installed.
    """
    path = Path(folder)
    record = read_record(path)
    kind = (registry or discover()).map_type(record.map)
    arrays, back = read_arrays(path / ARRAYS), None
    if record.way_back:
        of_back = {name.removeprefix(OF_BACK): arrays.pop(name) for name in list(arrays) if name.startswith(OF_BACK)}
        back = _restored(kind, record.map_options, of_back, (record.d_dst, record.d_src), path)
    fitted = _restored(kind, record.map_options, arrays, (record.d_src, record.d_dst), path)
    return Bridge(record.src, record.dst, kind.name, record.map_options, fitted, record.provenance, back)


def _restored(
    kind: type[Map], options: Mapping[str, Any], arrays: dict[str, NDArray[Any]], widths: tuple[int, int], path: Path
) -> FittedMap:
    try:
        fitted = TypeAdapter(kind).validate_python(options).restore(arrays)
        found = (fitted.d_src, fitted.d_dst)
    except BridgeError:
        raise
    except Exception as error:  # a plugin's restore may fail in any way
        raise MapError(
            f"The map {kind.name} cannot restore the arrays of {path} ({type(error).__name__}: {error}).",
            cause="They were saved by another version of the map's plugin, or the plugin is broken.",
        ) from error
    if found != widths:
        raise CorruptArtifactError(f"The map in {path} has other widths than its {BRIDGE_RECORD}.")
    return fitted


def _same(one: Bridge, other: Bridge) -> bool:
    maps = [(bridge.fitted.arrays(), (bridge.fitted_back or bridge.fitted).arrays()) for bridge in (one, other)]
    equal = all(
        left.keys() == right.keys() and all(np.array_equal(left[name], right[name]) for name in left)
        for left, right in zip(*maps, strict=True)
    )
    said = [
        # Compare as JSON, because tuples become lists when read back.
        json.dumps([bridge.src, bridge.dst, bridge.map, bridge.options, bridge.provenance, bridge.fitted_back is None])
        for bridge in (one, other)
    ]
    return equal and said[0] == said[1]
