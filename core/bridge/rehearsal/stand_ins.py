"""Write all stand-ins of an experiment, and the options that run it on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from bridge.corpus.read import BUNDLED, HUB
from bridge.dictionaries import Origin
from bridge.errors import BridgeError
from bridge.files import expand_user
from bridge.models.weights import models_folder
from bridge.pipeline.plan.groups import ModelOptions
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.score.judge import ENCODER, LSA
from bridge.pipeline.transfer.dictionaries import OWN
from bridge.pipeline.verbalize.find import find_verbalizer
from bridge.rehearsal.dictionaries import format_of, write_dictionary, write_shipped
from bridge.rehearsal.models import Described, Widths, write_model
from bridge.rehearsal.readers import Found, free_verbalizer, write_reader
from bridge.rehearsal.real import Real
from bridge.rehearsal.world import models_in
from bridge.store import Store

DOCUMENTS = 48
POSITIONS = 64
"""The most documents that are read, and live activations that are explained, in a rehearsal."""


@final
@dataclass
class StandIns:
    """The stand-ins.

    Attributes:
        options: Options that run the experiment on them.
        dictionaries: Dictionaries by side.
        widths: Widths of the models by side.
        models: The folder that stands for the user's folder of models.
        records: What stands for what, for people.
        unchecked: What could not be stood in for, a sentence each.
    """

    options: Options
    models: Path
    dictionaries: dict[str, str] = field(default_factory=dict)
    widths: dict[str, int] = field(default_factory=dict)
    records: list[dict[str, str]] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def build_stand_ins(real: Real, runtime: Runtime, root: Path) -> StandIns:
    """Write the stand-ins of models, dictionaries and verbalizers.

    Args:
        real: What was found of the experiment.
        runtime: Plugins and progress.
        root: A temporary folder.

    Raises:
        BridgeError: If a model's family gives no stand-in.
    """
    ready = StandIns(real.options, root / "models")
    widths = Widths([one.model.info.d_model for one in real.models.values() if one.small])
    written: dict[str, str] = {}
    for side, one in real.models.items():
        written[side] = write_model(one, side, ready.models, widths)
        ready.widths[side] = widths(one.model.info.d_model)
        ready.records.append(_model_record(one, ready.widths[side]))
    changes: dict[str, Any] = _cut(real) | {"src": written["src"], "src_identity": "", "dst_identity": ""}
    if len(written) == 2:
        changes["dst"] = written["dst"]  # a range of destinations names its stand-ins as it is
    stage = dataclasses.replace(runtime, store=Store(root / "cache"))
    with models_in(ready.models):
        folders = {side: stage.resolve(text).weights.folder for side, text in written.items()}
    for side, one in real.models.items():
        folder = folders[side]
        if not one.small and folder:
            write_shipped(one.model, folder, ready.widths[side], runtime.registry)
        if side in real.command.dictionaries:
            ready.dictionaries[side] = _dictionary(real, side, runtime, ready, root)
    if real.options.dictionary.reference:
        changes["dictionary"] = ready.dictionaries["src"]
    for side in real.command.explained:
        found = real.readers.get(side)
        changes[f"{side}_verbalizer"] = _reader(found, real.models[side], side, written[side], widths, stage, ready)
    ready.options = real.options.updated(**changes)
    return ready


def _cut(real: Real) -> dict[str, Any]:
    """Return what is smaller in a rehearsal, or has another name."""
    options = real.options
    elsewhere = real.corpus == "-" or real.corpus.startswith(HUB)
    asked = options.corpus.max_documents
    encoder = options.score.encoder
    if not encoder and (models_folder() / ENCODER).is_dir():
        encoder = str(models_folder() / ENCODER)
    elif encoder and (models_folder() / encoder).is_dir():
        encoder = str(models_folder() / encoder)
    return {
        "corpus": BUNDLED if elsewhere else real.corpus,
        "corpus_sha256": "",
        "max_documents": min(asked, DOCUMENTS) if asked else DOCUMENTS,
        "positions": min(options.verbalize.positions, POSITIONS),
        "allow_untrained": True,
        "engine": ModelOptions.model_fields["engine"].default,
        **({"encoder": encoder if real.encoder else LSA} if real.command.judged else {}),
    }


def _model_record(one: Described, width: int) -> dict[str, str]:
    info, name = one.model.info, one.label()
    kind = next(iter(one.model.weights.config.get("architectures") or ()), one.model.adapter.name)
    real = f"{kind}, {info.n_layers} blocks, {info.d_model} wide"
    stand_in = "itself" if one.small else f"random, {info.n_layers} blocks, {width} wide"
    return {"what": name, "real": real, "stand_in": stand_in}


def _dictionary(real: Real, side: str, runtime: Runtime, ready: StandIns, root: Path) -> str:
    """Return the reference of a dictionary's stand-in."""
    reference, one, found = real.command.dictionaries[side], real.models[side], real.dictionaries.get(side)
    if reference == OWN:
        return reference
    path = expand_user(reference)
    if one.small and found is not None and path.exists():
        ready.records.append({"what": reference, "real": "dictionary", "stand_in": "itself"})
        return str(path.absolute())
    origin = found.origin if found else Origin()
    fmt = format_of(path, runtime.registry) if path.exists() else None
    # The name of the model was checked on the real one; a folder's stand-in may have another.
    site, folder = Origin(site=origin.site), root / f"dictionary-{side}"
    written = write_dictionary(folder, fmt, ready.widths[side], site, runtime.registry)
    shape = " x ".join(map(str, found.directions.shape)) if found is not None else "not here"
    ready.records.append({"what": reference, "real": shape, "stand_in": f"random, {ready.widths[side]} wide"})
    return written


def _reader(
    found: Found | None, one: Described, side: str, reference: str, widths: Widths, stage: Runtime, ready: StandIns
) -> str:
    """Return the text that names a verbalizer's stand-in, or a verbalizer without files where there is none."""
    width = widths(one.model.info.d_model)
    with models_in(ready.models):
        model = stage.resolve(reference)
        if found is not None:
            try:
                base = model.weights.folder
                assert base is not None
                text = write_reader(found, one.model, base, width, ready.models, side)
                _, kind = find_verbalizer(text, model, "", stage.registry)
                kind.preview(model.info.d_model)
                stand_in = f"random, {width} wide" if kind.needs_checkpoint else "itself"
                ready.records.append({"what": found.named, "real": type(kind).name, "stand_in": stand_in})
                return text
            except BridgeError as error:
                ready.unchecked.append(f"The verbalizer {found.named} was not rehearsed: {error}")
        free = free_verbalizer(model, stage)
        ready.records.append({"what": f"verbalizer of {one.model.name}", "real": "", "stand_in": free})
        return free
