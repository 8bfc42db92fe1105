"""The provenance of a result: everything that its numbers depend on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bridge.models.quantize import FULL, described
from bridge.pairing.rows import PairedRows
from bridge.pipeline.plan.groups import ModelOptions
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.single import Side
from bridge.pipeline.plan.source_check import comparison
from bridge.references import Site

VERBALIZER_NOTES = "verbalizer_notes"
"""Entry for the notes of the verbalizers that were used."""


def describe(plan: Plan, rows: PairedRows, src: Site, dst: Site) -> dict[str, Any]:
    """Return the provenance of a result: everything that its numbers depend on."""
    return {
        "src": _describe_side(plan.src, src, plan.options.models),
        "dst": _describe_side(plan.dst, dst, plan.options.models),
        "corpus": {
            "name": plan.options.corpus.source,
            "sha256": plan.corpus.identity,
            "documents": len(plan.corpus.documents),
            "duplicates": plan.corpus.duplicates,
        },
        "rows": rows.coverage.summary(),
        "options": plan.options.flat(),
        "versions": versions(),
        **_halved(rows),
    } | said(plan.remarks)


def said(remarks: Sequence[str], key: str = "remarks") -> dict[str, list[str]]:
    """Return the remarks of a record as a dictionary entry; empty if there are none."""
    return {key: list(remarks)} if remarks else {}


def versions() -> dict[str, str]:
    """Return the versions of bridge, Python and the libraries."""
    import platform
    from importlib.metadata import version

    names = ("residual-bridge", "torch", "transformers", "nnsight", "numpy", "scipy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _describe_side(side: Side, site: Site, models: ModelOptions) -> dict[str, Any]:
    model = side.model
    return {
        "reference": model.label(site),
        "family": model.adapter.name,
        "weights": model.weights.source,
        "identity": side.identity,
        "site": str(site),
        "point": site.point,
        "d_model": model.info.d_model,
        "n_layers": model.info.n_layers,
        **_describe_source(side, site, models),
        **({"quantized": described(side.quantize)} if side.quantize != FULL else {}),
        **({"notes": list(side.notes)} if side.notes else {}),
    }


def _describe_source(side: Side, site: Site, models: ModelOptions) -> dict[str, dict[str, Any]]:
    """Return where collected activations come from, if not from the model itself."""
    if not side.source:
        return {}
    notes = [*side.source_notes, *filter(None, [comparison(side, site, models)])]
    return {"activations": {**side.source, **said(notes, "notes")}}


def _halved(rows: PairedRows) -> dict[str, dict[str, int]]:
    """Return the numbers of shards with batches that were halved because memory ran out; empty if there are none."""
    shards = range(len(rows.shards))
    counts = [sum(bool(artifact.info(index).get("halved")) for index in shards) for artifact in rows.artifacts]
    return {"shards_with_halved_batches": dict(zip(("src", "dst"), counts, strict=True))} if any(counts) else {}
