"""Transfer directions, probes and dictionaries through a fitted bridge, and score them on held-out activations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bridge.pipeline.fit.bridge import Bridge
    from bridge.pipeline.transfer.sae import TransferredDictionary
    from bridge.pipeline.transfer.transferred import Transferred
    from bridge.progress import Progress


def transfer_directions(
    bridge: Bridge | str | Path,
    vectors: str | Path | Mapping[str, Any] | None = None,
    *,
    dictionary: str = "",
    features: str | Sequence[int] = "",
    allow_other_model: bool = False,
    any_layer: bool = False,
    out: str | Path | None = None,
    score: bool = True,
    progress: Progress | None = None,
) -> Transferred:
    """Transfer directions (steering vectors, decoder rows) through the linear part of the map.

    Args:
        bridge: The bridge, or its folder.
        vectors: A safetensors file, or arrays by name: numpy or torch, (n, d_src) or (d_src,), any float type.
        dictionary: Transfer decoder rows of this dictionary of the source instead.
        features: Features whose rows are transferred: numbers, or text as in `3,17,45-50`.
        allow_other_model: Accept a dictionary whose file names another model.
        any_layer: Treat all vectors as vectors of the source's site, whatever layers their names or number state.
        out: Safetensors file to write, with the same names, float32; None to write nothing.
        score: Score them on the bridge's held-out activations, which are collected again if they are not stored.
        progress: Receives warnings.

    Returns:
        For each name the transferred array, numpy or torch as given (float64 stays, other types become float32), on
        the same device; rows of a dictionary are one array, `directions`. A gain is the mean length after over before;
        `held_out` has the correlation of paired rows' projections on both, and that of the mispaired control.

    Raises:
        bridge.errors.UsageError: If `out` exists, a feature is missing, neither or both sources are given, or vectors
            belong to other layers than the source's.
        bridge.errors.ShapeError: If an array has another width.
        bridge.errors.BridgeError: If a value is not finite, or the dictionary is not the source's.
    """
    from bridge.errors import UsageError
    from bridge.pipeline.jobs.held_out import open_held_out
    from bridge.pipeline.plan.runtime import open_runtime
    from bridge.pipeline.transfer import directions

    through, file = _bridge(bridge), _path(out)
    written = isinstance(features, str) and features
    runtime = open_runtime(progress)
    rows = partial(open_held_out, through, runtime) if score else None
    chosen = directions.parse_features(written) if written else [int(one) for one in features]
    if vectors is not None and not dictionary and not chosen:
        given = Path(vectors) if isinstance(vectors, str) else vectors
        return directions.transfer_directions(through, given, file, rows, any_layer=any_layer)
    if dictionary and chosen and vectors is None:
        any_model = allow_other_model
        return directions.transfer_features(
            through, dictionary, chosen, file, runtime, open_rows=rows, any_model=any_model
        )
    raise UsageError("Give either VECTORS, or --dictionary and --features.")


def transfer_probes(
    bridge: Bridge | str | Path,
    probes: str | Path | Mapping[str, Any],
    *,
    back: Bridge | str | Path | None = None,
    any_layer: bool = False,
    out: str | Path | None = None,
    score: bool = True,
    progress: Progress | None = None,
) -> Transferred:
    """Transfer linear probes of the source to the destination: they read its activations through the reverse map.

    Args:
        bridge: The bridge, or its folder.
        probes: A safetensors file, or arrays by name, numpy or torch: for each probe `NAME`, (d_src,) or (n, d_src),
            and if it has a bias `NAME.bias`, () or (n,); any float type.
        back: A bridge from the destination to the source, or its folder; default: the bridge's own reverse map.
        any_layer: Treat all probes as probes of the source's site, whatever layers their names or number state.
        out: Safetensors file to write; None to write nothing.
        score: Score them on the bridge's held-out activations, which are collected again if they are not stored.
        progress: Receives warnings.

    Returns:
        The transferred probes under the same names, each with a bias, numpy or torch as the weights were given (float64
        stays, other types become float32), on the same device; and their agreement with the given probes (`held_out`).

    Raises:
        bridge.errors.UsageError: If `out` exists, or `back` is between other models.
        bridge.errors.MapError: If a map is not affine, or there is no reverse map.
        bridge.errors.ShapeError: If weights have another width, or a bias another shape than the probe's outputs.
        bridge.errors.BridgeError: If a value is not finite, or a bias has no weights.
    """
    from bridge.pipeline.jobs.held_out import open_held_out
    from bridge.pipeline.plan.runtime import open_runtime
    from bridge.pipeline.transfer.probes import transfer_probes as carry

    given, way_back = Path(probes) if isinstance(probes, str) else probes, None if back is None else _bridge(back)
    through = _bridge(bridge)
    rows = partial(open_held_out, through, open_runtime(progress)) if score else None
    return carry(through, given, _path(out), way_back, rows, any_layer=any_layer)


def transfer_sae(
    bridge: Bridge | str | Path,
    dictionary: str | Path,
    out: str | Path,
    *,
    back: Bridge | str | Path | None = None,
    allow_other_model: bool = False,
    score: bool = True,
    progress: Progress | None = None,
) -> TransferredDictionary:
    """Transfer a sparse autoencoder of the source to the destination, and write it in SAELens layout.

    Args:
        bridge: The bridge, or its folder.
        dictionary: The source's dictionary: a path, or hub:user/repo/subfolder, in any installed format.
        out: Folder to write; an existing one is not overwritten.
        back: A bridge from the destination to the source, or its folder; default: the bridge's own reverse map.
        allow_other_model: Accept a dictionary whose file names another model.
        score: Score it on the bridge's held-out activations, which are collected again if they are not stored.
        progress: Receives warnings.

    Returns:
        The written dictionary (`dictionary`) and its scores (`held_out`), as in `transfer.json` in the folder.

    Raises:
        bridge.errors.UsageError: If `out` exists, or `back` is between other models.
        bridge.errors.MapError: If a map is not affine, or there is no reverse map.
        bridge.errors.BridgeError: If the dictionary is not the source's, or is no autoencoder.
    """
    from bridge.pipeline.jobs.held_out import open_held_out
    from bridge.pipeline.plan.runtime import open_runtime
    from bridge.pipeline.transfer.sae import transfer_sae as carry

    through, way_back = _bridge(bridge), None if back is None else _bridge(back)
    runtime = open_runtime(progress)
    rows = partial(open_held_out, through, runtime) if score else None
    any_model = allow_other_model
    return carry(through, str(dictionary), Path(out), way_back, runtime, open_rows=rows, any_model=any_model)


def _bridge(given: Bridge | str | Path) -> Bridge:
    from bridge.face.fit import load

    return load(given) if isinstance(given, str | Path) else given


def _path(out: str | Path | None) -> Path | None:
    return None if out is None else Path(out)
