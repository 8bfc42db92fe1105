"""The check of a loaded model: its outputs equal earlier outputs, and it predicts text of its training domain."""

from __future__ import annotations

import os
from collections.abc import Iterable
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
from bridge.pipeline.plan.groups import ModelOptions
from bridge.pipeline.plan.placement import placement_of
from bridge.store import Artifact

if TYPE_CHECKING:
    from bridge.pipeline.plan.runtime import Runtime
    from bridge.pipeline.plan.single import Side

DOCUMENTS = 8
"""Number of texts read from a model's own corpus."""

VARIABLE = "BRIDGE_ALLOW_UNTRAINED"
"""Environment variable with the effect of --allow-untrained, for tests of tiny random models."""

VERSION = 1
"""Version of the measurement: a new version invalidates old records."""


@final
class Record(BaseModel):
    """The record of a self-check, stored with the fingerprint."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    measured: Perplexity | None


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
    placement = placement_of(models)
    loaded = side.model.adapter.load(side.model.weights, placement)
    artifact = _artifact(side, models, runtime)
    if str(artifact.path) in runtime.checked:
        return loaded
    mark = fingerprint(loaded)
    if (record := _stored(artifact)) is None:
        check_residual_sums(loaded, placement.dtype)
        record = Record(measured=_measure(loaded, side, runtime))
        _keep(artifact, mark, record)
    else:
        _hold_to(side, mark, artifact, placement.dtype)
    _need_trained(side, record, models)
    runtime.checked.add(str(artifact.path))
    return loaded


def untrained_notes(side: Side, models: ModelOptions, runtime: Runtime) -> list[str]:
    """Return a note about a model that is not trained; empty if it is trained or was never measured.

    Raises:
        ModelError: If the model is not trained, and that is not allowed.
    """
    record = _stored(_artifact(side, models, runtime))
    if record is None or record.measured is None or not record.measured.untrained:
        return []
    _need_trained(side, record, models)
    return [f"{side.model.name}: {record.measured.sentence()} (--allow-untrained)."]


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
    artifact = _artifact(side, models, runtime)
    record = _stored(artifact)
    if record is None:
        load_checked(side, models, runtime)
        forget_models()
        record = _stored(artifact)
    else:
        _need_trained(side, record, models)
    if record is None:
        return "loaded and checked; the measurement could not be stored"
    return record.measured.sentence() if record.measured else "predicts no next token, so it has no perplexity"


def _artifact(side: Side, models: ModelOptions, runtime: Runtime) -> Artifact:
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
    }
    return runtime.store.artifact("self-checks", recipe)


def _stored(artifact: Artifact) -> Record | None:
    if not artifact.has(0):
        return None
    try:
        return Record.model_validate(artifact.info(0))
    except (ValidationError, CorruptArtifactError):
        return None


def _keep(artifact: Artifact, mark: Any, record: Record) -> None:
    try:
        artifact.write(0, {"fingerprint": mark}, record.model_dump())
    except StoreError:  # without a writable cache, the measurement is repeated each time
        return


def _measure(loaded: LoadedModel, side: Side, runtime: Runtime) -> Perplexity | None:
    own = side.model.corpus
    documents: list[Document] = [paragraph()]
    if own:
        documents = list(load_corpus(own, None, DOCUMENTS, runtime.registry.corpora).documents)
    return perplexity(loaded, documents, f"its own corpus, {own}" if own else ENGLISH)


def _hold_to(side: Side, mark: Any, artifact: Artifact, dtype: str) -> None:
    off = difference(mark, artifact.read(0)["fingerprint"])
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


def _need_trained(side: Side, record: Record, models: ModelOptions) -> None:
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
