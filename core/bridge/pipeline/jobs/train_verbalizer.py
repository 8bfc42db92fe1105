"""Train a verbalizer of one model at one site."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from bridge.errors import UsageError
from bridge.files import write_bytes
from bridge.files.temporaries import sweep_temporaries
from bridge.pipeline.plan.gather import gather_model
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.plan.single import prepare_model
from bridge.pipeline.plan.specs import build
from bridge.pipeline.plan.threads import threads_for
from bridge.pipeline.transfer.dictionaries import check_belongs, open_dictionary, say_notes
from bridge.pipeline.verbalize.find import TRAINING_RECORD, TRAINING_STATE, trained_folder
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.progress import Progress
from bridge.verbalizers import Recipe


def train_verbalizer(
    options: Options,
    backend: str,
    recipe: Recipe,
    dictionary: str,
    out: Path | None = None,
    progress: Progress | None = None,
    stdin: IO[str] | None = None,
) -> dict[str, Any]:
    """Collect a model's activations over a corpus and train a verbalizer on them.

    Args:
        options: Model (as `src`), corpus and split.
        backend: Kind of verbalizer, with its options.
        recipe: Training options.
        dictionary: If not empty, reference of a dictionary whose features are also trained on.
        out: Folder to write; an interrupted training in it is resumed. Default: the folder of the model's own
            verbalizer, where every command finds it.
        progress: Receives every stage.
        stdin: The stream for a corpus `-`.

    Returns:
        The folder, and the measurements on held-out documents.

    Raises:
        UsageError: If the folder holds a finished verbalizer, or the model is an encoder.
        BridgeError: If the model is not available, or this kind of verbalizer cannot be trained for it.
    """
    runtime = open_runtime(progress)
    kind = build(backend, runtime.registry.verbalizer)
    pinned, plan = prepare_model(options, runtime, stdin)
    model, identity = plan.side.model, plan.side.identity
    site = model.single_site()
    model.need_next_token()
    if site.layer < 0:
        raise UsageError(
            f"{model.label(site)} stands in no block, and verbalizers are trained for places in blocks.",
            remedy="Name a block, as in @20, or a module of one.",
        )
    out = out or trained_folder(model, identity)
    if (out / TRAINING_RECORD).exists():
        raise UsageError(f"{out} already holds a trained verbalizer.", remedy="Choose another --out, or move it.")
    if dictionary:
        any_model = options.dictionary.allow_other_model
        found = check_belongs(open_dictionary(dictionary, runtime.registry), model, site, any_model=any_model)
        say_notes(found, dictionary, runtime)
        recipe = replace(recipe, dictionary=found)
    subject = ModelSubject(plan, gather_model(plan, [site], runtime)[site], runtime)
    out.mkdir(parents=True, exist_ok=True)
    sweep_temporaries(out)
    with threads_for(subject.d_model):
        measured = kind.train(subject, recipe, out, runtime.progress)
    record = {
        "model": subject.name,
        "weights": identity,
        "verbalizer": backend,
        "held_out": measured,
        "options": pinned.flat(),
    }
    write_bytes(out / TRAINING_RECORD, json.dumps(record, indent=2, ensure_ascii=False).encode())
    for state in out.glob(TRAINING_STATE):
        state.unlink()
    return record | {"folder": str(out)}
