"""A model is checked where it is loaded: known again by its outputs, and able to predict what it should know."""

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
"""Texts read of a corpus that is the model's own."""

VARIABLE = "BRIDGE_ALLOW_UNTRAINED"
"""Environment variable that does what --allow-untrained does, for tests of tiny random models."""

VERSION = 1
"""Of what is measured: a new one makes old records unknown."""


@final
class Record(BaseModel):
    """What a self-check left beside the fingerprint."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    measured: Perplexity | None


def load_checked(side: Side, models: ModelOptions, runtime: Runtime) -> LoadedModel:
    """Load a model and check it; what was measured once for its weights, dtype and libraries is compared, not repeated.

    One process checks the same weights once, however often it loads them.

    Args:
        side: Which model.
        models: How models are run.
        runtime: The store, and who is told.

    Returns:
        The model.

    Raises:
        ModelError: If its outputs are not those that the same weights had before, its parts do not add up, or it
            predicts a text that it should know no better than a random one (unless that is allowed).
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
    """Return what a record must say of a model that is not trained; nothing where it is, or was never measured.

    Raises:
        ModelError: If it is not, and that is not allowed.
    """
    record = _stored(_artifact(side, models, runtime))
    if record is None or record.measured is None or not record.measured.untrained:
        return []
    _need_trained(side, record, models)
    return [f"{side.model.name}: {record.measured.sentence()} (--allow-untrained)."]


def with_untrained(
    provenance: dict[str, Any], sides: Iterable[Side], models: ModelOptions, runtime: Runtime
) -> dict[str, Any]:
    """Return the provenance of a result; under `untrained`, it has a sentence for each model that is not trained."""
    notes = list(dict.fromkeys(note for side in sides for note in untrained_notes(side, models, runtime)))
    return provenance | ({"untrained": notes} if notes else {})


def tried(side: Side, models: ModelOptions, runtime: Runtime) -> str:
    """Return in words what a model makes of a text that it should know; loaded only if that was never measured.

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
        return "loaded, and checked; what was measured could not be kept"
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
    except StoreError:  # a cache that cannot be written costs a measurement each time, and stops nothing here
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
        f"{side.model.name} does not give the logits that it gave before: they differ by {off:.2g} of the largest, on "
        "eight fixed tokens.",
        cause="Weights of the same name and hash, the same libraries and the same machine give the same numbers: other "
        "weights were read, or a library, driver or device is broken.",
        remedy="Fetch the weights again and reinstall torch and transformers; if the new numbers are the right ones, "
        f"delete {artifact.path}, and the activations that were collected before.",
    )


def _need_trained(side: Side, record: Record, models: ModelOptions) -> None:
    found = record.measured
    if found is None or not found.untrained or models.allow_untrained:
        return
    if os.environ.get(VARIABLE, "") not in ("", "0"):
        return
    raise ModelError(
        f"{side.model.name} has {found.sentence()}.",
        cause=f"Guessing among its {found.vocabulary:,} tokens has perplexity {found.vocabulary:,}; that of a trained "
        f"model, on text of its kind, is under {found.bound:,.3g}.",
        remedy="Look at where the weights come from. If they are meant to be untrained, or were never shown such text, "
        "use --allow-untrained: the results will say so.",
    )
