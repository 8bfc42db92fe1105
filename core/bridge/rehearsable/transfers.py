"""Commands that transfer tools through a fitted bridge, as rehearsals see them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bridge.face import transfer
from bridge.face.files import need_free
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.transfer.probes import BIAS
from bridge.rehearsable.inputs import Vectors, fitted, fitted_back, narrow, options_of
from bridge.rehearsable.through import opened
from bridge.rehearsal.command import Command, Performed, Surroundings, pair_of
from bridge.rehearsal.dictionaries import is_here

Given = Bridge | str | Path


def transfer_directions(
    bridge: Given, vectors: Vectors | None = None, *, dictionary: str = "", out: str | Path | None = None, **how: Any
) -> Command:
    """Describe `bridge transfer directions`: the real vectors go through the real map, others through a stand-in's."""
    through = opened(bridge)

    def check() -> None:
        need_free(out)
        if vectors is not None or is_here(dictionary):
            transfer.transfer_directions(through, vectors, dictionary=dictionary, **how | {"score": False})

    def perform(on: Surroundings) -> Performed:
        given = None if vectors is None else narrow(vectors, on.widths["src"])
        sae = on.dictionaries.get("src", "")
        features = {"features": (0, 1)} if sae else {}
        transfer.transfer_directions(
            fitted(on), given, dictionary=sae, out=on.folder / "moved.safetensors", **how | features | _on(on, sae)
        )
        return Performed()

    return _command(through, check, perform, dictionary, **how)


def transfer_probes(
    bridge: Given, probes: Vectors, *, back: Given | None = None, out: str | Path | None = None, **how: Any
) -> Command:
    """Describe `bridge transfer probes`: the real ones go through the real map, and others through a stand-in's."""
    through, reverse = opened(bridge), None if back is None else opened(back)

    def check() -> None:
        need_free(out)
        transfer.transfer_probes(through, probes, back=reverse, **how | {"score": False})

    def perform(on: Surroundings) -> Performed:
        given = narrow(probes, on.widths["src"], lambda name: name.endswith(BIAS))
        turned = None if reverse is None else fitted_back(on, reverse)
        file = on.folder / "probes.safetensors"
        transfer.transfer_probes(fitted(on), given, back=turned, out=file, **how | {"progress": on.progress})
        return Performed()

    return _command(through, check, perform, **how)


def transfer_sae(
    bridge: Given, dictionary: str | Path, out: str | Path, *, back: Given | None = None, **how: Any
) -> Command:
    """Describe `bridge transfer sae`: a dictionary of the source's stand-in goes through a map between stand-ins."""
    through, reverse = opened(bridge), None if back is None else opened(back)

    def perform(on: Surroundings) -> Performed:
        turned = None if reverse is None else fitted_back(on, reverse)
        sae = on.dictionaries["src"]
        transfer.transfer_sae(fitted(on), sae, on.folder / "sae", back=turned, **how | _on(on, sae))
        return Performed()

    return _command(through, partial(need_free, out), perform, str(dictionary), **how)


def _on(on: Surroundings, sae: str) -> dict[str, Any]:
    """Return the arguments of a performance: a stand-in's dictionary names no model."""
    return {"progress": on.progress} | ({"allow_other_model": True} if sae else {})


def _command(
    through: Bridge,
    check: Callable[[], Any],
    perform: Callable[[Surroundings], Performed],
    dictionary: str = "",
    *,
    allow_other_model: bool = False,
    score: bool = True,
    **_: Any,
) -> Command:
    given = options_of(through, allow_other_model=allow_other_model)
    return Command(
        given,
        perform,
        pair_of(given),
        dictionaries={"src": dictionary} if dictionary else {},
        checks={"inputs": check},
        corpus=score,
        left_out=("activations that are in the cache, which are not collected again",),
    )
