"""Transfer directions through a bridge: arrays, the tensors of a file, or decoder rows of a dictionary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.directions import write_record
from bridge.errors import UsageError
from bridge.files import need_free
from bridge.pipeline.arrays import as_given
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.transfer.dictionaries import open_source
from bridge.pipeline.transfer.held_out import OpenRows
from bridge.pipeline.transfer.layers import need_one_site
from bridge.pipeline.transfer.projections import score_directions
from bridge.pipeline.transfer.transferred import Named, Transferred, gain, read_named

Vectors = Mapping[str, NDArray[np.floating]]
ROWS = "directions"
"""Name of the output tensor of decoder rows."""

MOST = 1_000_000
"""Maximal number of features in one range: more than any dictionary has."""

_SPAN = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")


def transfer_directions(
    bridge: Bridge,
    source: Named,
    out: Path | None = None,
    open_rows: OpenRows | None = None,
    *,
    any_layer: bool = False,
) -> Transferred:
    """Move vectors as directions (steering vectors, decoder rows), and score them.

    Args:
        bridge: The bridge; any map, equal or different widths.
        source: A safetensors file, or arrays by name: (n, d_src) or (d_src,), any float type.
        out: File for the moved tensors, under the same names, float32; refuses to overwrite.
        open_rows: Opens the rows for scoring, after all other checks; None for no scores.
        any_layer: Assign all vectors to the source's site, ignoring layers in their names or number.

    Returns:
        For each name the moved array, in the given type, its gain in length, and the scores of `score_directions`.

    Raises:
        UsageError: If `out` exists, or the vectors belong to other layers than the source's.
        ShapeError: If a tensor has another width.
        BridgeError: If a tensor holds NaN or infinite values, or is not a float tensor.
    """
    need_free(out)
    vectors, name = read_named(source)
    if not any_layer:
        need_one_site(bridge, vectors, name)
    return _move(bridge, vectors, vectors if isinstance(source, Path) else source, out, {"from": name}, open_rows)


def transfer_features(
    bridge: Bridge,
    reference: str,
    features: Sequence[int],
    out: Path | None,
    runtime: Runtime | None = None,
    *,
    open_rows: OpenRows | None = None,
    any_model: bool = False,
) -> Transferred:
    """Move the decoder rows of chosen features of the source's dictionary.

    Args:
        bridge: The bridge; any map, equal or different widths.
        reference: The source's dictionary: a path, or hub:user/repo/subfolder.
        features: The feature numbers; the rows keep this order.
        out: File for one tensor `directions`, (len(features), d_dst) float32, with a record of the dictionary and the
            feature numbers; refuses to overwrite.
        runtime: Plugins, store and progress; default: those of this machine, without progress output.
        open_rows: As for `transfer_directions`.
        any_model: Accept a dictionary whose file names another model.

    Returns:
        As `transfer_directions`.

    Raises:
        UsageError: If `out` exists, or the dictionary does not have one of the features.
        BridgeError: If the dictionary's width, site or model differs from the bridge's source.
    """
    need_free(out)
    rows = open_source(bridge, reference, runtime or open_runtime(), any_model=any_model).directions
    beyond = [feature for feature in features if not 0 <= feature < len(rows)]
    if beyond or not features:
        listed = ", ".join(map(str, beyond[:5])) + (", ..." if len(beyond) > 5 else "")
        raise UsageError(
            f"{reference} has no feature {listed}." if beyond else "No features are chosen.",
            remedy=f"Its features are 0 to {len(rows) - 1}.",
        )
    chosen = {ROWS: rows[list(features)]}
    return _move(bridge, chosen, chosen, out, {"dictionary": reference, "features": list(features)}, open_rows)


def parse_features(text: str) -> list[int]:
    """Parse `3,17,45-50` into feature numbers, in the given order, without duplicates.

    Raises:
        UsageError: If the text has another form.
    """
    chosen: dict[int, None] = {}
    for part in text.split(","):
        span = _SPAN.fullmatch(part.strip())
        first, last = (int(span[1]), int(span[2] or span[1])) if span else (1, 0)
        if first > last or last - first >= MOST:
            raise UsageError(f"{part!r} is not a feature range.", remedy="Write numbers and ranges, as in 3,17,45-50.")
        chosen |= dict.fromkeys(range(first, last + 1))
    return list(chosen)


def _move(
    bridge: Bridge,
    vectors: Vectors,
    given: Mapping[str, Any],
    out: Path | None,
    origin: Mapping[str, Any],
    open_rows: OpenRows | None,
) -> Transferred:
    moved = {name: bridge.direction(some) for name, some in vectors.items()}
    rows = open_rows() if open_rows and vectors else None
    scored = score_directions(rows, vectors) if rows else {}
    record = {"src": bridge.src, "dst": bridge.dst, "map": bridge.map, **origin}
    record |= {"held_out": scored} if scored else {}
    if out is not None:
        arrays = {name: some.astype(np.float32) for name, some in moved.items()}
        write_record(out, arrays, record)
    gains = {name: gain(vectors[name], some) for name, some in moved.items()}
    return Transferred({name: as_given(some, given[name]) for name, some in moved.items()}, gains, record, scored)
