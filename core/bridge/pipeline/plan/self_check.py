"""The check of a loaded model: its outputs equal earlier outputs, and it predicts text of its training domain."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, final

from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.collect.memory import forget_models
from bridge.corpus.documents import Document
from bridge.corpus.read import load_corpus
from bridge.errors import CorruptArtifactError, ModelError, StoreError
from bridge.models import LoadedModel
from bridge.models.fingerprint import ROUNDING, check_residual_sums, difference, fingerprint
from bridge.models.perplexity import ENGLISH, Perplexity, paragraph, perplexity
from bridge.models.quantize import FULL, described
from bridge.pipeline.plan.groups import ModelOptions
from bridge.pipeline.plan.placement import placement_of
from bridge.store import Artifact

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.pipeline.plan.runtime import Runtime
    from bridge.pipeline.plan.single import Side

DOCUMENTS = 8
"""Number of texts read from a model's own corpus."""

VARIABLE = "BRIDGE_ALLOW_UNTRAINED"
"""Environment variable with the effect of --allow-untrained, for tests of tiny random models."""

SMALL = 10**9
"""Maximal number of parameters of models that are loaded only to check them."""

FINGERPRINT = "fingerprint"

VERSION = 1
"""Version of the measurement: a new version invalidates old records."""


@final
class Record(BaseModel):
    """The record of a self-check, stored with the fingerprint.

    Attributes:
        measured: The perplexity; None if it was not or cannot be measured.
        compared: Of another source of activations, how its activations compare with those of transformers, as a
            sentence.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    measured: Perplexity | None
    compared: str = ""


def load_checked(side: Side, models: ModelOptions, runtime: Runtime) -> LoadedModel:
    """Load a model and check it; the perplexity is measured once for its weights, dtype and libraries.

    One process checks the same weights once, however often it loads them.

    Args:
        side: The model.
        models: Device and dtype options.
        runtime: The store, and progress for notes.

    Returns:
        The model.

    Raises:
        ModelError: If its outputs differ from earlier outputs of the same weights, its parts do not add up, or it
            predicts text of its training domain no better than an untrained model (unless that is allowed).
    """
    return checked(side.model.adapter.load(side.model.weights, placement_of(models)), side, models, runtime)


def checked(loaded: LoadedModel, side: Side, models: ModelOptions, runtime: Runtime) -> LoadedModel:
    """Check a model that was loaded; see `load_checked`."""
    placement = placement_of(models)
    artifact = record_of(side, models)
    if str(artifact.path) in runtime.checked:
        return loaded
    mark = fingerprint(loaded)
    if (record := stored(artifact)) is None:
        check_residual_sums(loaded, placement.dtype)
        record = Record(measured=_measure(loaded, side, runtime))
        keep(artifact, mark, record)
        keep_everywhere(side, models, mark, record)
    else:
        _hold_to(side, mark, artifact, placement.dtype)
    need_trained(side, record, models)
    runtime.checked.add(str(artifact.path))
    return loaded


def untrained_notes(side: Side, models: ModelOptions, runtime: Runtime) -> list[str]:
    """Return a note about a model that is not trained; empty if it is trained or was never measured.

    Raises:
        ModelError: If the model is not trained, and that is not allowed.
    """
    sources = [{}, side.source] if side.source else [{}]
    for source in sources:
        record = stored(record_of(side, models, source)) or stored(record_of(side, models, source, everywhere=True))
        if record is not None and record.measured is not None and record.measured.untrained:
            need_trained(side, record, models)
            return [f"{side.model.name}: {record.measured.sentence()} (--allow-untrained)."]
    return []


def with_untrained(
    provenance: dict[str, Any], sides: Iterable[Side], models: ModelOptions, runtime: Runtime
) -> dict[str, Any]:
    """Return the provenance of a result, with a sentence for each untrained model under `untrained`."""
    notes = list(dict.fromkeys(note for side in sides for note in untrained_notes(side, models, runtime)))
    return provenance | ({"untrained": notes} if notes else {})


def tried(side: Side, models: ModelOptions, runtime: Runtime) -> str:
    """Return the model's perplexity as a sentence; the model is loaded only if it was never measured.

    Raises:
        ModelError: As `load_checked`.
    """
    artifact = record_of(side, models)
    record = stored(artifact)
    if record is None:
        load_checked(side, models, runtime)
        forget_models()
        record = stored(artifact)
    else:
        need_trained(side, record, models)
    if record is None:
        return "loaded and checked; the measurement could not be stored"
    return record.measured.sentence() if record.measured else "predicts no next token, so it has no perplexity"


def record_of(
    side: Side,
    models: ModelOptions,
    source: Mapping[str, str] | None = None,
    site: str = "",
    *,
    everywhere: bool = False,
) -> Artifact:
    """Return the artifact with the record of a self-check.

    Args:
        side: The model.
        models: Device and dtype options.
        source: What decides the bits of another source of activations; default: the model itself was checked.
        site: The site of which the record is, if it is of one site.
        everywhere: Return the record of the first machine, for those that use its activations and load no model.
    """
    import platform

    import torch

    placement = placement_of(models)
    device = placement.torch_device()
    chip = torch.cuda.get_device_name(device if ":" in device else None) if "cuda" in device else platform.machine()
    recipe: dict[str, Any] = {
        "version": VERSION,
        "model": f"{side.model.adapter.name} {side.identity}",
        "text": side.model.corpus or ENGLISH,
        "dtype": placement.dtype,
        "device": [device.partition(":")[0], chip, torch.backends.cpu.get_cpu_capability(), platform.node()],
        "libraries": {name: version(name) for name in ("residual-bridge", "torch", "transformers", "nnsight")},
        **({"source": dict(source)} if source else {}),
        **({"site": site} if site else {}),
    }
    if side.quantize != FULL:
        recipe["quantized"] = described(side.quantize)
    if everywhere:
        return side.store.artifact(
            "perplexities", {k: v for k, v in recipe.items() if k not in ("device", "libraries")}
        )
    return side.store.artifact("self-checks", recipe)


def stored(artifact: Artifact) -> Record | None:
    """Return a record; None if there is none, or if it cannot be read."""
    if not artifact.has(0):
        return None
    try:
        return Record.model_validate(artifact.info(0))
    except (ValidationError, CorruptArtifactError):
        return None


def keep(artifact: Artifact, mark: Tensor, record: Record) -> None:
    """Store a record with the numbers that identify the outputs, if the cache is writable."""
    try:
        artifact.write(0, {FINGERPRINT: mark}, record.model_dump())
    except StoreError:  # without a writable cache, the measurement is repeated each time
        return


def keep_everywhere(
    side: Side, models: ModelOptions, mark: Tensor, record: Record, source: Mapping[str, str] | None = None
) -> None:
    """Store a record for other machines, unless there is one."""
    artifact = record_of(side, models, source, everywhere=True)
    if stored(artifact) is None:
        keep(artifact, mark, record)


def _measure(loaded: LoadedModel, side: Side, runtime: Runtime) -> Perplexity | None:
    return perplexity(loaded, *training_domain(side, runtime))


def training_domain(side: Side, runtime: Runtime) -> tuple[list[Document], str]:
    """Return texts of a model's training domain, and their name."""
    own = side.model.corpus
    if not own:
        return [paragraph()], ENGLISH
    return list(load_corpus(own, None, DOCUMENTS, runtime.registry.corpora).documents), f"its own corpus, {own}"


def _hold_to(side: Side, mark: Any, artifact: Artifact, dtype: str) -> None:
    off = difference(mark, artifact.read(0)[FINGERPRINT])
    if off <= ROUNDING[dtype]:
        return
    raise ModelError(
        f"{side.model.name} gives other logits than before on eight fixed tokens: they differ by {off:.2g} of the "
        "largest logit.",
        cause="The same weights, libraries and machine give the same numbers, so other weights were read, or a "
        "library, driver or device is broken.",
        remedy="Download the weights again and reinstall torch and transformers; if the new numbers are correct, "
        f"delete {artifact.path} and the activations that were collected before.",
    )


def need_trained(side: Side, record: Record, models: ModelOptions) -> None:
    """Refuse a model that is not trained, unless that is allowed.

    Raises:
        ModelError: With its perplexity.
    """
    found = record.measured
    if found is None or not found.untrained or models.allow_untrained:
        return
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        return
    raise ModelError(
        f"{side.model.name} has {found.sentence()}.",
        cause=f"Random guessing among its {found.vocabulary:,} tokens has perplexity {found.vocabulary:,}; a trained "
        f"model, on text of its training domain, has a perplexity under {found.bound:,.3g}.",
        remedy="Check the origin of the weights. If they are meant to be untrained, or were trained on other text, use "
        "--allow-untrained; the results will record it.",
    )
