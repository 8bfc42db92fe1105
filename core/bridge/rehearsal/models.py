"""The models of an experiment: their configurations, found without a network, and stand-ins for them."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from bridge.errors import BridgeError, ModelUnavailableError
from bridge.models.resolve import ResolvedModel
from bridge.models.weights import models_folder
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.verbalize.published import hub_names
from bridge.references import is_path, parse_reference
from bridge.rehearsal.world import models_in

SMALL = 64 * 2**20
"""Checkpoints of at most this many bytes are rehearsed as they are."""

STEP, NARROWEST = 32, 64

SIDES = {"src": "source", "dst": "destination"}


def name_of(side: str, what: str) -> str:
    """Return in words what belongs to a side: `source model`, `destination verbalizer`, `destination model 2`."""
    name, number = side[:3], side[3:]
    return f"{SIDES[name]} {what}{f' {number}' if number else ''}"


@final
@dataclass(frozen=True)
class Described:
    """A model of the experiment.

    Attributes:
        model: As it was resolved, from its small files.
        here: Whether its weights are on this machine.
        parameters: How many it has; None if its family cannot count them.
        small: Whether it is rehearsed as it is.
        hub: Its id on the hub; empty for a folder.
    """

    model: ResolvedModel
    here: bool
    parameters: int | None
    small: bool
    hub: str

    def deepest(self) -> int:
        """Return the number of blocks that run to reach all sites."""
        return max(site.layer for site in self.model.all_sites()) + 1

    def label(self) -> str:
        """Return the reference with its site, or its sites as they were written."""
        return self.model.label(self.model.single_site()) if self.one_site() else f"{self.model.name}@{self.model.site}"

    def one_site(self) -> bool:
        """Tell whether it is read at a single site."""
        return len(self.model.all_sites()) == 1 and not set(",*") & set(self.model.site)


def described(text: str, runtime: Runtime, folder: Path) -> Described:
    """Resolve a model from what is on this machine: a folder, the hub's cache, or a configuration that a family brings.

    Args:
        text: Its reference.
        runtime: Plugins and the user's store.
        folder: For configurations that families bring.

    Raises:
        BridgeError: If the reference is wrong, or no configuration is here.
    """
    reference = parse_reference(text)
    names = sorted(one for one in hub_names(reference, runtime.registry) if "/" in one and not is_path(one))
    try:
        model, brought = runtime.resolve(text), False
    except ModelUnavailableError as error:
        model, brought = _brought(text, names, runtime, folder, error), True
    weights = model.weights
    here = not brought and (bool(weights.tensor_files(fetch=False)) if weights.folder else weights.are_here())
    if here:
        model.adapter.check_weights(weights)
    elif weights.folder and not brought and not (weights.folder / "config.json").is_file():
        here = True  # a format of its own: what its family claims is there
    hub = weights.source if not weights.folder else names[0] if names else ""
    return Described(model, here, _parameters(model), bool(here and _size(weights.folder) <= SMALL), hub)


def _brought(text: str, names: Iterable[str], runtime: Runtime, folder: Path, error: BridgeError) -> ResolvedModel:
    for adapter in runtime.registry.models.values():
        for name in names:
            if brought := adapter.known_configs().get(name):
                shutil.copytree(brought, folder / name, dirs_exist_ok=True)
                with models_in(folder):
                    return runtime.resolve(str(replace(parse_reference(text), revision="")))
    name = next(iter(names), text)
    raise ModelUnavailableError(
        f"The configuration of {name} is not on this machine, so it cannot be rehearsed.",
        cause=f"It is neither in the hub's cache nor among those that the installed families bring. {error.what}",
        remedy=f"Fetch its small files once: hf download {name} config.json tokenizer.json tokenizer_config.json",
    ) from error


def _parameters(model: ResolvedModel) -> int | None:
    try:
        return model.adapter.parameters(model.weights)
    except Exception:  # a count is needed for the estimate only
        return None


def _size(folder: Path | None) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder else float("inf")


@final
class Widths:
    """One width for each real width: equal ones stay equal, different ones different."""

    def __init__(self, kept: Iterable[int]) -> None:
        self._small = {width: width for width in kept}

    def __call__(self, real: int) -> int:
        """Return the width that stands for a real one."""
        if real not in self._small:
            taken = set(self._small.values())
            width = NARROWEST
            while width in taken:
                width += STEP
            self._small[real] = width
        return self._small[real]


def write_model(one: Described, side: str, models: Path, widths: Widths) -> str:
    """Write the stand-in of a model, and return the reference that means it.

    Args:
        one: The model.
        side: `src` or `dst`.
        models: The folder that stands for the user's folder of models.
        widths: Widths of stand-ins.

    Raises:
        ModelError: If its family gives no stand-in.
    """
    model = one.model
    reference = replace(model.reference, site=model.site, revision="")
    if one.small:
        folder = model.weights.folder
        in_models = folder is not None and folder.is_relative_to(models_folder())
        return str(replace(reference, model=str(folder), variant="")) if in_models else str(model.reference)
    if one.hub:
        folder = models / one.hub
    else:
        folder = models / side / Path(model.weights.source).name
        reference = replace(reference, model=str(folder), variant="")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        model.adapter.write_stand_in(model.weights, folder, widths(model.info.d_model))
    return str(reference)
