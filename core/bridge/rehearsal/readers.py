"""Stand-ins of verbalizers that are read from folders, and of their reconstructors."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import final

from bridge.errors import BridgeError, ModelUnavailableError, UsageError
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.specs import build
from bridge.pipeline.verbalize.find import OWN, find_verbalizer, own_verbalizer, published_verbalizer
from bridge.pipeline.verbalize.published import readers_of
from bridge.readers import ReaderBackend, ReaderStandIn
from bridge.readers.locate import HUB, locate
from bridge.verbalizers import KnownReader, VerbalizerBackend, check_site

NEW_TOKENS = 8
"""Tokens that a stand-in writes of a vector: a real one writes as many as the experiment says."""

LENGTH = "max_new_tokens"
FOLDERS = ("checkpoint", "ar")
"""Options of readers that name folders of their own; adapters of stand-ins name the model's stand-in as their base."""


@final
@dataclass(frozen=True)
class Found:
    """The verbalizer of one model.

    Attributes:
        named: What names it, with all its options: `nla:checkpoint=hub:user/repo`.
        kind: The kind with its options.
        here: Whether its small files are on this machine, and were checked.
        known: Its published description, if there is one.
    """

    named: str
    kind: VerbalizerBackend
    here: bool
    known: KnownReader | None = None


def found_for(text: str, model: ResolvedModel, runtime: Runtime) -> Found:
    """Find the verbalizer of a real model, and check its small files, or its published description, without a network.

    Raises:
        BridgeError: If there is none, or its files or its description name another width, site or model.
    """
    own = text.partition(":")[0] in ("", OWN)
    identity = model.weights.identity(runtime.store) if own else ""
    try:
        named, kind = find_verbalizer(text, model, identity, runtime.registry)
        kind.preview(model.info.d_model)
        return Found(named, kind, True)
    except ModelUnavailableError:
        named = text
        if own:
            given = text.partition(":")[2]
            named = own_verbalizer(model, identity) or published_verbalizer(model, runtime.registry)
            named = f"{named},{given}" if given else named
    kind = build(named, runtime.registry.verbalizer)
    return Found(named, kind, False, _published(named, model, runtime))


def _published(named: str, model: ResolvedModel, runtime: Runtime) -> KnownReader | None:
    """Return the published description of a reader that is not here.

    Raises:
        BridgeError: If it reads another model or another site.
    """
    checkpoint = _options(named).get("checkpoint", "").removeprefix(HUB)
    known = [one for one in runtime.registry.known_readers.values() if checkpoint and checkpoint in one.weights[:1]]
    if not known:
        return None
    mine = {one.name for one in readers_of(model, runtime.registry)}
    if not any(one.name in mine for one in known):
        raise UsageError(
            f"The verbalizer {checkpoint} reads activations of {known[0].model}, and these are of {model.name}.",
            cause="It is the verbalizer of another model.",
            remedy="Give the verbalizer of this model; `bridge readers` lists published ones.",
        )
    site, at = model.single_site(), ",".join(known[0].sites)
    check_site(at, site, model.info.n_layers, f"The verbalizer {checkpoint}")
    return known[0]


def write_reader(found: Found, model: ResolvedModel, base: Path, d_model: int, models: Path, side: str) -> str:
    """Write the stand-in of a reader, and return the text that names it, with fewer tokens to write.

    Args:
        found: The real one.
        model: The real model whose activations it reads.
        base: Folder of the model's stand-in.
        d_model: Width of the stand-in.
        models: The folder that stands for the user's folder of models.
        side: `src` or `dst`.

    Raises:
        BridgeError: If its format gives no stand-in.
    """
    kind = found.kind
    if not isinstance(kind, ReaderBackend):
        if kind.needs_checkpoint:
            raise BridgeError(f"Verbalizers of the kind {kind.name} need a checkpoint or a server, and no stand-in.")
        return shortened(found.named, kind)
    options = _options(found.named)
    places = {name: _place(options[name], models, side, name) for name in FOLDERS if options.get(name)}
    sites = kind.trained_at() if found.here else ",".join(found.known.sites) if found.known else ""
    like = ReaderStandIn(
        base=base,
        site=sites.partition(",")[0] or str(model.single_site()),
        d_model=d_model,
        reconstructor=places.get("ar"),
        real=locate(kind.checkpoint, model.name, kind.format.headers) if found.here else None,
    )
    places["checkpoint"].parent.mkdir(parents=True, exist_ok=True)
    kind.format.write_stand_in(places["checkpoint"], like)
    options = {name: value for name, value in options.items() if name not in ("base", "any_base")}
    options |= {name: str(place) for name, place in places.items() if not options[name].startswith(HUB)}
    written = ",".join(f"{name}={value}" for name, value in options.items())
    return shortened(f"{found.named.partition(':')[0]}:{written}", kind)


def shortened(named: str, kind: VerbalizerBackend) -> str:
    """Return the text that names a verbalizer, which is to write few tokens if its kind writes any."""
    if LENGTH not in {field.name for field in dataclasses.fields(kind)}:  # type: ignore[arg-type]
        return named
    name, _, _ = named.partition(":")
    options = _options(named) | {LENGTH: str(NEW_TOKENS)}
    return f"{name}:{','.join(f'{key}={value}' for key, value in options.items())}"


def free_verbalizer(model: ResolvedModel, runtime: Runtime) -> str:
    """Return a verbalizer that needs no files, in the place of one that cannot be rehearsed.

    Raises:
        UsageError: If none is installed.
    """
    for name, kind in runtime.registry.verbalizers.items():
        try:
            if not kind.needs_checkpoint:
                named, _ = find_verbalizer(name, model, "", runtime.registry)
                return shortened(named, build(named, runtime.registry.verbalizer))
        except BridgeError:
            continue
    raise UsageError("No verbalizer is installed that needs no checkpoint.")


def _options(named: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in named.partition(":")[2].split(",") if item)
    return {name.strip(): value.strip() for name, _, value in pairs}


def _place(text: str, models: Path, side: str, name: str) -> Path:
    hub = text.removeprefix(HUB)
    return models / hub if hub != text else models / "readers" / side / name / Path(text).name
