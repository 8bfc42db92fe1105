"""Refuse files with vectors of several layers: a bridge transfers only vectors of the source's site."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.errors import UsageError
from bridge.pipeline.fit.bridge import Bridge
from bridge.references import parse_reference, parse_site

_NAMED = re.compile(r"(?:^|[._/\s-])(?:layers?|blocks?)[._\s-]?(\d{1,9})(?:$|[._/\s-])", re.IGNORECASE)
_COUNTED = re.compile(r"(?:direction[._-]?)?(\d{1,9})", re.IGNORECASE)
DEEP = 6
"""Minimal number of blocks for recognising a tensor with one row per block: fewer rows often mean something else."""


def need_one_site(bridge: Bridge, vectors: Mapping[str, NDArray[np.floating]], origin: str) -> None:
    """Refuse vectors of other layers than the source's: the map of one layer is not valid for another.

    Layers are recognised by names (`layer_12`, `blocks.12.hook_resid_post`; for several vectors also `12` and
    `direction.12`, as in repeng and llama.cpp), and by shape: a row for every block, or one more (persona vectors).

    Args:
        bridge: The bridge.
        vectors: Vectors by name, (n, d_src) or (d_src,).
        origin: Name of their origin, for the error message.

    Raises:
        UsageError: Naming the layers, and the option that accepts the vectors.
    """
    side = bridge.provenance.get("src", {})
    refuse_other_layers(vectors, origin, bridge.src, str(side.get("site", "")), int(side.get("n_layers", 0)))


def refuse_other_layers(
    vectors: Mapping[str, NDArray[np.floating]], origin: str, label: str, site: str, n_layers: int
) -> None:
    """Do the check of `need_one_site` for a given model and site.

    Args:
        vectors: Vectors by name.
        origin: Name of their origin, for the error message.
        label: Full reference of the model.
        site: The site; default: the site of the reference.
        n_layers: Number of blocks; 0 if unknown.

    Raises:
        UsageError: As `need_one_site`.
    """
    site = site or parse_reference(label).site
    own = (
        parse_site(site, n_layers).layer if n_layers else int(found[0]) if (found := re.match(r"\d{1,9}", site)) else -1
    )
    named = {name: int(match[1]) for name in vectors if (match := _NAMED.search(name))}
    counted = {name: int(match[1]) for name in vectors if (match := _COUNTED.fullmatch(name))}
    wrong = {name: layer for name, layer in named.items() if layer != own and own >= 0}
    stacked = [
        name
        for name, some in vectors.items()
        if n_layers >= DEEP and some.ndim == 2 and len(some) in (n_layers, n_layers + 1)
    ]
    if wrong:
        said = ", ".join(f"{name} (layer {layer})" for name, layer in list(wrong.items())[:3])
    elif len(counted) > 1 and len(counted) == len(vectors):
        said = f"{len(counted)} vectors that are numbered like layers ({', '.join(list(counted)[:3])}, ...)"
    elif stacked:
        said = f"{stacked[0]} with {len(vectors[stacked[0]])} rows, and {label} has {n_layers} blocks"
    else:
        return
    raise UsageError(
        f"{origin} holds {said}; the map is for one site, {label}.",
        cause="There is a vector for every layer, and the map of one layer is not valid for another.",
        remedy=f"Give only the vectors of {label}, or fit a bridge for each layer; if all of these belong to that "
        "site, use --any-layer (any_layer=True).",
    )
