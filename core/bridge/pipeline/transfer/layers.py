"""Vectors of many layers in one file: only those of the source's own site go through a bridge."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from bridge.errors import UsageError
from bridge.pipeline.fit.bridge import Bridge
from bridge.references import parse_reference, parse_site

_NAMED = re.compile(r"(?:^|[._/\s-])(?:layers?|blocks?)[._\s-]?(\d+)(?:$|[._/\s-])", re.IGNORECASE)
_COUNTED = re.compile(r"(?:direction[._-]?)?(\d+)", re.IGNORECASE)
DEEP = 6
"""From so many blocks on, a tensor of a row a block is taken to be one: fewer rows are too often something else."""


def need_one_site(bridge: Bridge, vectors: Mapping[str, NDArray[np.floating]], origin: str) -> None:
    """Refuse vectors of other layers than the source's: the map of one layer says nothing of another.

    Layers are told by names (`layer_12`, `blocks.12.hook_resid_post`; of several also `12` and `direction.12`, as
    repeng and llama.cpp number them), and by shape: a row for every block, or one more (persona vectors).

    Args:
        bridge: Whose source they are of.
        vectors: By name, (n, d_src) or (d_src,).
        origin: What to call where they come from.

    Raises:
        UsageError: Naming the layers, and how to say that they are meant so.
    """
    side = bridge.provenance.get("src", {})
    refuse_other_layers(vectors, origin, bridge.src, str(side.get("site", "")), int(side.get("n_layers", 0)))


def refuse_other_layers(
    vectors: Mapping[str, NDArray[np.floating]], origin: str, label: str, site: str, n_layers: int
) -> None:
    """Do as `need_one_site` for a model and site that are named.

    Args:
        vectors: By name.
        origin: What to call where they come from.
        label: Full reference of the model.
        site: The site; by default that of the reference.
        n_layers: Number of blocks; 0 where it is not known.

    Raises:
        UsageError: As `need_one_site`.
    """
    site = site or parse_reference(label).site
    own = parse_site(site, n_layers).layer if n_layers else int(found[0]) if (found := re.match(r"\d+", site)) else -1
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
        said = f"{len(counted)} vectors that are numbered, as layers are ({', '.join(list(counted)[:3])}, ...)"
    elif stacked:
        said = f"{stacked[0]} of {len(vectors[stacked[0]])} rows, where {label} has {n_layers} blocks"
    else:
        return
    raise UsageError(
        f"{origin} holds {said}; this goes through one site, {label}.",
        cause="It has a vector for every layer, and the map of one layer says nothing of another.",
        remedy=f"Give the vectors of {label} alone, or fit a bridge for each layer; if all of these are of that "
        "site, say --any-layer (any_layer=True).",
    )
