"""Carry a dictionary through a bridge, and what every kind of transfer refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bridge.dictionaries import Origin, SparseAutoencoder
from bridge.errors import BridgeError, MapError, UsageError, did_you_mean
from bridge.maps import AffineMap, FittedMap
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.transfer.dictionaries import open_source
from bridge.references import parse_reference, parse_site


def transfer_sae(
    bridge: Bridge, reference: str, out: Path, back: Bridge | None = None, runtime: Runtime | None = None
) -> SparseAutoencoder:
    """Write a sparse autoencoder of the source model as one of the destination, in SAELens layout.

    It reads the destination's activations through the map back, and writes through the map forward: both are folded
    into its weights, so that the file needs no bridge.

    Args:
        bridge: From the dictionary's model to the other.
        reference: The source's dictionary: a path, or hub:user/repo/subfolder.
        out: The folder to write; refuses to overwrite.
        back: A bridge fitted the other way; by default the inverse of the map, which for a rotation is as good.
        runtime: Plugins, store and progress; those of this machine, silent, by default.

    Returns:
        What was written.

    Raises:
        UsageError: If `out` exists, or `back` is between other models.
        MapError: If a map is not affine, or has no inverse and no `back` is given.
        BridgeError: If the dictionary is of another width or site than the bridge's source, or is no autoencoder.
    """
    need_free(out)
    runtime = runtime or open_runtime()
    formats = runtime.registry.dictionary_formats
    if "saelens" not in formats:
        raise UsageError("The format saelens is not installed.", remedy=did_you_mean("", formats))
    forward, inverse = _affine(bridge.fitted, bridge), reverse_map(bridge, back)
    dictionary = open_source(bridge, reference, runtime)
    if not isinstance(dictionary, SparseAutoencoder):
        raise BridgeError(f"{reference} is a {type(dictionary).__name__}, and only autoencoders can be folded.")
    side = bridge.provenance["dst"]
    site = parse_site(side["site"], side["n_layers"])
    model = str(replace(parse_reference(bridge.dst), site=""))
    origin = Origin(model, f"blocks.{site.layer}.hook_{site.point}", None)
    carried = dictionary.carried(forward, inverse, origin)
    formats["saelens"].save(carried, out)
    return carried


def reverse_map(bridge: Bridge, back: Bridge | None) -> AffineMap:
    """Return the map from the bridge's destination to its source, through which carried tools read.

    Args:
        bridge: The bridge forward.
        back: A bridge fitted the other way; by default the inverse of the map.

    Raises:
        UsageError: If `back` is between other models.
        MapError: If the map back is not affine, or there is no `back` and the map has no inverse.
    """
    if back is None:
        return _affine(bridge.fitted, bridge).inverse()
    if (back.src, back.dst) != (bridge.dst, bridge.src):
        raise UsageError(
            f"The bridge back goes from {back.src} to {back.dst}, not from {bridge.dst} to {bridge.src}.",
            remedy="Fit it with --src and --dst exchanged.",
        )
    return _affine(back.fitted, back)


def need_free(out: Path | None) -> None:
    """Refuse to overwrite, before any work is done.

    Raises:
        UsageError: If `out` exists.
    """
    if out is not None and out.exists():
        raise UsageError(f"{out} already exists; nothing is overwritten.", remedy="Choose another --out.")


def _affine(fitted: FittedMap, bridge: Bridge) -> AffineMap:
    if not isinstance(fitted, AffineMap):
        raise MapError(
            f"The map {bridge.map} is not affine, so it cannot be folded into weights.",
            remedy="Fit the bridge with --map procrustes or --map ridge.",
        )
    return fitted
