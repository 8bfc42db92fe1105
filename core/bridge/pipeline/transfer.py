"""Carry named directions and dictionaries through a bridge, file to file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Origin, SparseAutoencoder
from bridge.directions import read_arrays, write_arrays
from bridge.errors import BridgeError, MapError, UsageError, did_you_mean
from bridge.maps import AffineMap, FittedMap
from bridge.pipeline.bridge import Bridge
from bridge.pipeline.dictionaries import open_dictionary
from bridge.plugins import Registry, discover
from bridge.references import parse_reference, parse_site


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
    _need_free(out)
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


def transfer_sae(
    bridge: Bridge, reference: str, out: Path, back: Bridge | None = None, registry: Registry | None = None
) -> SparseAutoencoder:
    """Write a sparse autoencoder of the source model as one of the destination, in SAELens layout.

    It reads the destination's activations through the map back, and writes through the map forward: both are folded
    into its weights, so that the file needs no bridge.

    Args:
        bridge: From the dictionary's model to the other.
        reference: The source's dictionary: a path, or hub:user/repo/subfolder.
        out: The folder to write; refuses to overwrite.
        back: A bridge fitted the other way; by default the inverse of the map, which for a rotation is as good.
        registry: Installed plugins; discovered by default.

    Returns:
        What was written.

    Raises:
        UsageError: If `out` exists, or `back` is between other models.
        MapError: If a map is not affine, or has no inverse and no `back` is given.
        BridgeError: If the dictionary is of another width or site than the bridge's source, or is no autoencoder.
    """
    _need_free(out)
    installed = registry or discover()
    if "saelens" not in installed.dictionary_formats:
        raise UsageError("The format saelens is not installed.", remedy=did_you_mean("", installed.dictionary_formats))
    if back is not None and (back.src, back.dst) != (bridge.dst, bridge.src):
        raise UsageError(
            f"The bridge back goes from {back.src} to {back.dst}, not from {bridge.dst} to {bridge.src}.",
            remedy="Fit it with --src and --dst exchanged.",
        )
    dictionary = open_dictionary(reference, installed)
    if not isinstance(dictionary, SparseAutoencoder):
        raise BridgeError(f"{reference} is a {type(dictionary).__name__}, and only autoencoders can be folded.")
    _need_source(dictionary, bridge, reference)
    forward = _affine(bridge.fitted, bridge)
    inverse = _affine(back.fitted, back) if back else forward.inverse()
    side = bridge.provenance["dst"]
    site = parse_site(side["site"], side["n_layers"])
    model = str(replace(parse_reference(bridge.dst), site=""))
    origin = Origin(model, f"blocks.{site.layer}.hook_{site.point}", None)
    carried = dictionary.carried(forward, inverse, origin)
    installed.dictionary_formats["saelens"].save(carried, out)
    return carried


def _need_free(out: Path) -> None:
    if out.exists():
        raise UsageError(f"{out} already exists; nothing is overwritten.", remedy="Choose another --out.")


def _affine(fitted: FittedMap, bridge: Bridge) -> AffineMap:
    if not isinstance(fitted, AffineMap):
        raise MapError(
            f"The map {bridge.map} is not affine, so it cannot be folded into a dictionary's weights.",
            remedy="Fit the bridge with --map procrustes or --map ridge.",
        )
    return fitted


def _need_source(dictionary: SparseAutoencoder, bridge: Bridge, reference: str) -> None:
    width, side = dictionary.directions.shape[1], bridge.provenance["src"]
    if width != bridge.fitted.d_src:
        raise BridgeError(
            f"{reference} is {width} wide, and {bridge.src} is {bridge.fitted.d_src} wide.",
            cause="It is a dictionary of another model than the bridge's source.",
        )
    said, depth = dictionary.origin.site, side["n_layers"]
    if said and parse_site(said, depth) != parse_site(side["site"], depth):
        raise BridgeError(
            f"{reference} says that it belongs at {said}, and the bridge starts at {bridge.src}.",
            remedy="Fit a bridge from that site, or give the dictionary of this one.",
        )
