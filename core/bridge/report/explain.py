"""Explanations on the terminal: one row per token or direction, and the round trip in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.report.table import print_rows
from bridge.terminal import say

if TYPE_CHECKING:
    from bridge.pipeline.readings import Readings


def print_readings(result: Readings) -> None:
    """Print the explanations; the texts come from a model and are shown unchanged."""
    asked = result.provenance.get("question", "")
    rows = [
        [
            one.token if one.position >= 0 and not asked else one.text,
            one.explanation,
            ", ".join(one.flags),
            "-" if one.round_trip is None else f"{one.round_trip:.3f}",
        ]
        for one in result.readings
    ]
    print_rows(
        ["read", "explanation", "flags", "round trip"],
        rows,
        title=f"{result.provenance['src']} explained by {result.provenance['dst']}" + (f": {asked}" if asked else ""),
    )
    if result.fve is not None:
        verdict = "more" if result.fve > 0 else "NO more"
        say(
            f"Round trip: the explanations reconstruct {verdict} than the mean activation does (FVE {result.fve:.3f}"
            + (
                ""
                if result.fve_nrm is None
                else f"; over the variance of unit vectors, as model cards print it, {result.fve_nrm:.3f}"
            )
            + f"; compare each round trip with the cosine of the mean activation, {result.mean_cosine:.3f})."
        )
    elif result.readings and result.readings[0].position >= 0 and not asked:
        say("This verbalizer has no reconstructor, so the round trip of the explanations is not measured.")
