"""Commands that run the models of a fitted bridge, as rehearsals see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.face.explain import Directions
from bridge.face.files import need_free
from bridge.face.fit import load
from bridge.maps import check_width
from bridge.models import Placement
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.jobs.steer import steer as steer_by
from bridge.pipeline.score.steering import Dose
from bridge.pipeline.transfer.contrast import LabelledRows, load_contrast, read_labelled_rows
from bridge.rehearsable.inputs import fitted, narrow, options_of
from bridge.rehearsable.pair import explain
from bridge.rehearsal.command import Command, Performed, Surroundings, pair_of

NEW_TOKENS = 4
"""Tokens that a rehearsed generation writes."""


def steer(
    bridge: Bridge | str | Path,
    contrast: str | Path,
    *,
    vector_from: str | Path | None = None,
    doses: Sequence[float] = (0.5, 1.0, 2.0),
    prompts: Sequence[str] = (),
    new_tokens: int = 30,
    max_tokens: int = 256,
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    allow_untrained: bool = False,
    out: str | Path | None = None,
) -> Command:
    """Describe `bridge steer`: a bridge between the stand-ins is fitted, and its destination is steered."""
    through = opened(bridge)
    given = options_of(through, device=device, dtype=dtype)
    # Only the settings are checked: the device may be elsewhere.
    dose = Dose(tuple(doses), tuple(prompts), new_tokens, max_tokens, Placement(), seed, True)

    def check() -> None:
        load_contrast(Path(contrast), seed)
        if vector_from is not None:
            rows = read_labelled_rows(Path(vector_from))
            check_width(rows.rows, through.fitted.d_src, f"The tensor rows of {rows.name}")
        need_free(out)

    def perform(on: Surroundings) -> Performed:
        models = on.options.models
        few = replace(dose, new_tokens=min(new_tokens, NEW_TOKENS), placement=Placement(models.device, models.dtype))
        rows = _rows(read_labelled_rows(Path(vector_from)), on) if vector_from is not None else None
        steer_by(fitted(on), load_contrast(Path(contrast), seed), few, on.progress, rows)
        return Performed()

    return Command(
        given,
        perform,
        pair_of(given),
        checks={"inputs": check},
        corpus=False,
        left_out=(
            "the passes over the contrast and the prompts",
            "activations of the bridge, which are not read again",
        ),
    )


def explain_through(
    bridge: Bridge | str | Path,
    texts: Sequence[str] = (),
    *,
    every: int = 1,
    ask: str = "",
    directions: Directions | None = None,
    any_layer: bool = False,
    verbalizer: str = "",
    washout: str = "",
    out: str | Path | None = None,
) -> Command:
    """Describe an explanation through a bridge: one between the stand-ins is fitted by the options of the real one."""
    given: dict[str, Any] = options_of(opened(bridge)).flat()
    given |= {"dst_verbalizer": verbalizer} if verbalizer else {}
    given |= {"washout": (washout,)} if washout else {}
    shown: Mapping[str, Any] = {"every": every, "ask": ask, "directions": directions, "any_layer": any_layer}
    if not directions:
        given.pop("washout")
    return explain(given.pop("src"), given.pop("dst"), texts, out=out, **shown, **given)


def opened(bridge: Bridge | str | Path) -> Bridge:
    """Return a bridge, read from its folder if it is one."""
    return load(bridge) if isinstance(bridge, str | Path) else bridge


def _rows(rows: LabelledRows, on: Surroundings) -> LabelledRows:
    return replace(rows, rows=narrow({"rows": rows.rows}, on.widths["src"])["rows"])
