"""Transfer linear probes through a bridge, by the reverse map, because probes read activations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.directions import write_record
from bridge.errors import BridgeError, ShapeError
from bridge.files import need_free
from bridge.maps import AffineMap, check_width
from bridge.pipeline.arrays import as_given
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.transfer.held_out import Array, HeldOutRows, OpenRows, score_probes
from bridge.pipeline.transfer.layers import need_one_site
from bridge.pipeline.transfer.transferred import Named, Transferred, gain, read_named
from bridge.pipeline.transfer.way_back import reverse_map

BIAS = ".bias"
Probe = tuple[NDArray[Any], NDArray[Any]]


def transfer_probes(
    bridge: Bridge,
    source: Named,
    out: Path | None = None,
    back: Bridge | None = None,
    open_rows: OpenRows | None = None,
    *,
    any_layer: bool = False,
) -> Transferred:
    """Write probes of the source model as probes of the destination, and score them.

    A probe computes w x + b. The transferred probe applied to an activation y of the destination equals the given probe
    applied to back(y). Its weights equal the moved direction w only if the map is a rotation; its bias accounts for the
    means.

    Args:
        bridge: Bridge from the probes' model to the other model.
        source: A safetensors file, or arrays by name: for each probe NAME a tensor NAME of shape (d_src,) or
            (n, d_src), n outputs, and optionally a bias NAME.bias of shape () or (n,); any float type.
        out: File for the transferred probes, under the same names, each with a bias, in float64 for float64 weights,
            else float32; refuses to overwrite.
        back: A bridge fitted from destination to source; default: the reverse map of the bridge.
        open_rows: Opens the rows for scoring, after all other checks; None for no scores.
        any_layer: Assign all probes to the source's site, ignoring layers in their names or number.

    Returns:
        The transferred probes, each with a bias, in the type of their weights; the gain of their weights; and the
        agreement of their outputs on held-out rows with those of the given probes.

    Raises:
        UsageError: If `out` exists, `back` is between other models, or probes belong to other layers than the source's.
        MapError: If a map is not affine, or there is no reverse map.
        ShapeError: If weights have another width, or a bias has another shape than the probe's outputs.
        BridgeError: If a tensor has values that are not finite floats, or a bias has no weights.
    """
    need_free(out)
    inverse, which = reverse_map(bridge, back)
    given, origin = read_named(source)
    if not any_layer:
        need_one_site(bridge, given, origin)
    probes = _probes(given, origin, inverse.d_dst)
    arrays: dict[str, NDArray[Any]] = {}
    for name, probe in probes.items():
        kind = np.result_type(given[name].dtype, np.float32)
        moved = reading(*probe, inverse)
        arrays |= {key: part.astype(kind) for key, part in zip((name, name + BIAS), moved, strict=True)}
    scored = _scores(open_rows, probes, arrays)
    record: dict[str, Any] = {"src": bridge.src, "dst": bridge.dst, "map": bridge.map, "back": which, "from": origin}
    record |= {"held_out": scored} if scored else {}
    if out is not None:
        write_record(out, arrays, record)
    as_given_by = given if isinstance(source, Path) else source
    returned = {key: as_given(part, as_given_by[key.removesuffix(BIAS)]) for key, part in arrays.items()}
    return Transferred(returned, {name: gain(given[name], arrays[name]) for name in probes}, record, scored)


def _probes(given: Mapping[str, NDArray[Any]], origin: str, width: int) -> dict[str, Probe]:
    """Return weights and bias of each probe, checked against the width."""
    names = [name for name in given if not name.endswith(BIAS)]
    lone = given.keys() - names - {name + BIAS for name in names}
    if lone:
        raise BridgeError(
            f"{origin} holds {min(lone)}, but no weights of that probe.",
            remedy="Name a probe's weights NAME and its bias NAME.bias.",
        )
    found = {}
    for name in names:
        weights = given[name]
        bias = given.get(name + BIAS, np.zeros(weights.shape[:-1]))
        check_width(np.atleast_2d(weights), width, f"The probe {name}")
        if bias.shape != weights.shape[:-1]:
            raise ShapeError(f"{name}{BIAS} has shape {bias.shape}; its probe's outputs are {weights.shape[:-1]}.")
        found[name] = weights, bias
    return found


def _scores(
    open_rows: OpenRows | None, probes: Mapping[str, Probe], arrays: Mapping[str, NDArray[Any]]
) -> dict[str, dict[str, Any]]:
    """Score the transferred probes beside the same probes through a mispaired map."""
    rows = open_rows() if open_rows and probes else None
    if rows is None:
        return {}
    given = {name: (weights.astype(np.float64), bias.astype(np.float64)) for name, (weights, bias) in probes.items()}
    moved = {name: (arrays[name].astype(np.float64), arrays[name + BIAS].astype(np.float64)) for name in probes}
    return score_probes(rows, given, moved, _control(rows, given))


def _control(rows: HeldOutRows, probes: Mapping[str, tuple[Array, Array]]) -> dict[str, tuple[Array, Array]]:
    control = rows.mispaired()
    if control is None or not isinstance(control.back, AffineMap):
        return {}
    return {name: reading(*probe, control.back) for name, probe in probes.items()}


def reading(
    weights: NDArray[np.floating], bias: NDArray[np.floating], back: AffineMap
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weights and bias of the composition of a probe with `back`: weights back.weight', and w back(0) + b.

    Args:
        weights: (d_src,) or (n, d_src).
        bias: () or (n,).
        back: Map from the destination to the source.

    Returns:
        (d_dst,) or (n, d_dst), and () or (n,), float64.
    """
    wide = weights.astype(np.float64)
    origin = back(np.zeros((1, back.d_src)))[0]
    return wide @ back.weight.T, np.asarray(wide @ origin + bias)
