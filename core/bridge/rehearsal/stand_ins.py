"""Write all stand-ins of an experiment, and the options that run it on them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bridge.corpus.read import BUNDLED, HUB
from bridge.dictionaries import Origin
from bridge.errors import BridgeError
from bridge.models.weights import models_folder
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
        models: The folder that stands for the user's folder of models.
        records: What stands for what, for people.
        unchecked: What could not be stood in for, a sentence each.
    """

    options: Options
    models: Path
    records: list[dict[str, str]]
    unchecked: list[str]


def build_stand_ins(options: Options, real: Real, runtime: Runtime, root: Path) -> StandIns:
    """Write the stand-ins of models, dictionary and verbalizers.

    Args:
        options: The experiment as it was given.
        real: What was found of it.
        runtime: Plugins and progress.
        root: A temporary folder.

    Raises:
        BridgeError: If a model's family gives no stand-in.
    """
    sides = {"src": real.src, "dst": real.dst}
    ready = StandIns(real.options, root / "models", [], [])
    kept = [one.model.info.d_model for one in sides.values() if one and one.small]
    widths = Widths(kept)
    changes: dict[str, Any] = _cut(options, real)
    for side, one in sides.items():
        assert one is not None
        changes[side] = write_model(one, side, ready.models, widths)
        ready.records.append(_model_record(one, widths(one.model.info.d_model)))
    changes |= {"src_identity": "", "dst_identity": ""}
    stage = dataclasses.replace(runtime, store=Store(root / "cache"))
    with models_in(ready.models):
        resolved = {side: stage.resolve(changes[side]) for side in sides}
    changes |= _dictionary(real, resolved["src"].weights.folder, widths, runtime, ready, root)
    for side, one in sides.items():
        assert one is not None
        folder = resolved[side].weights.folder
        if not one.small and folder:
            write_shipped(one.model, folder, widths(one.model.info.d_model), runtime.registry)
        if real.explains:
            found = real.src_reader if side == "src" else real.dst_reader
            changes[f"{side}_verbalizer"] = _reader(found, one, side, changes[side], widths, stage, ready)
    ready.options = real.options.updated(**changes)
    return ready


def _cut(options: Options, real: Real) -> dict[str, Any]:
    """Return what is smaller in a rehearsal, or has another name."""
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
        **({"encoder": encoder if real.encoder else LSA} if real.explains else {}),
    }


def _model_record(one: Described, width: int) -> dict[str, str]:
    info, name = one.model.info, one.model.label(one.model.single_site())
    kind = next(iter(one.model.weights.config.get("architectures") or ()), one.model.adapter.name)
    real = f"{kind}, {info.n_layers} blocks, {info.d_model} wide"
    stand_in = "itself" if one.small else f"random, {info.n_layers} blocks, {width} wide"
    return {"what": name, "real": real, "stand_in": stand_in}


def _dictionary(
    real: Real, folder: Path | None, widths: Widths, runtime: Runtime, ready: StandIns, root: Path
) -> dict[str, Any]:
    asked, src = real.options.dictionary, real.src
    assert src is not None
    if asked.reference in ("", OWN):
        return {}
    path = Path(asked.reference).expanduser()
    if src.small and real.dictionary is not None and path.exists():
        ready.records.append({"what": asked.reference, "real": "dictionary", "stand_in": "itself"})
        return {"dictionary": str(path.absolute())}
    origin = real.dictionary.origin if real.dictionary else Origin()
    fmt = format_of(path, runtime.registry) if path.exists() else None
    width = widths(src.model.info.d_model)
    # The name of the model was checked on the real one; a folder's stand-in may have another.
    site = Origin(site=origin.site)
    written = write_dictionary(root / "dictionary", fmt, width, site, runtime.registry)
    shape = " x ".join(map(str, real.dictionary.directions.shape)) if real.dictionary is not None else "not here"
    ready.records.append({"what": asked.reference, "real": shape, "stand_in": f"random, {width} wide"})
    return {"dictionary": written}


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
