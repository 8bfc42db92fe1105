"""Find the verbalizer of a model: named by the user, trained here, in the folder of its weights, or published."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bridge.errors import UsageError
from bridge.files import expand_user
from bridge.models.resolve import ResolvedModel
from bridge.models.weights import models_folder
from bridge.pipeline.plan.specs import build
from bridge.pipeline.verbalize.published import ask_remedy, best_reader
from bridge.plugins.isolation import described
from bridge.plugins.registry import Registry
from bridge.readers.locate import locate
from bridge.verbalizers import VerbalizerBackend, check_site

FOLDER = "verbalizers"
"""Subfolder of a checkpoint's folder: `verbalizers/SITE`, in the layout of `bridge verbalizer train`."""

LENSES = "lenses"
"""Inside the models' folder, as `bridge lens fit` writes: one file a model and kind."""

TRAINING_RECORD = "training.json"
"""Record of a trained verbalizer, written last."""

TRAINING_STATE = ".*.safetensors"
"""Hidden files from which an interrupted training continues; deleted once the record is written."""

OWN = "own"
READER = "reader"
"""Stands for whichever format recognises the checkpoint."""


def find_verbalizer(
    text: str, model: ResolvedModel, identity: str, registry: Registry
) -> tuple[str, VerbalizerBackend]:
    """Return the name of the verbalizer of a model at its site, and the kind with its options.

    Args:
        text: `NAME:OPTION=VALUE,...`, a folder that `bridge verbalizer train` wrote, or empty for the model's own
            verbalizer; `own:OPTION=VALUE,...` sets options of the latter.
        model: The model.
        identity: Identity of its weights.
        registry: Installed plugins.

    Raises:
        UsageError: If the model has no verbalizer, or the text names none.
        BridgeError: If its files name another site or model.
    """
    name, _, given = text.partition(":")
    is_own = name in ("", OWN)
    named = (own_verbalizer(model, identity) or published_verbalizer(model, registry)) if is_own else text
    if not named:
        label = model.label(model.single_site())
        free = ", ".join(name for name, kind in registry.verbalizers.items() if not kind.needs_checkpoint)
        oracle = best_reader(model, registry, asked=True)
        ask = f"{ask_remedy(oracle)} Or train one" if oracle else "Train one"
        raise UsageError(
            f"There is no verbalizer of {label} here{' that needs no question' if oracle else ''}.",
            cause="None was trained on this machine, is in the folder of its weights, or was published for this layer.",
            remedy=f"{ask}: bridge verbalizer train --model {label}; use one that needs no training: {free}; or "
            "see the published readers: bridge readers.",
        )
    named = _recognised(named, registry)
    if named.partition(":")[0] not in registry.verbalizers and expand_user(named).is_dir():
        named = _of_folder(expand_user(named).absolute(), registry)
    named = f"{named},{given}" if is_own and given else named
    kind = build(named, registry.verbalizer)
    site, info = model.single_site(), model.info
    check_site(kind.trained_at(), site, info.n_layers, f"The verbalizer {named}")
    if kind.fits_lens and (fitted := lens_file(kind.name, identity)).is_file():
        kind = kind.with_lens(fitted)
    kind.check_model(site, info.n_layers, info.d_model, identity)
    return named, kind


def _recognised(named: str, registry: Registry) -> str:
    """Name the kind of a reader, where its folder alone was named: `FOLDER:OPTION=...`, `reader:checkpoint=FOLDER,...`.

    Raises:
        UsageError: If no format recognises the folder, or several do.
        BridgeError: If there is no such folder.
    """
    name, _, given = named.partition(":")
    pairs = [item for item in given.split(",") if item]
    folders = [item.partition("=")[2] for item in pairs if item.partition("=")[0].strip() == "checkpoint"]
    if name == READER and READER not in registry.verbalizers:
        if len(folders) != 1:
            raise UsageError("A reader needs a checkpoint.", remedy="Write reader:checkpoint=FOLDER.")
        headers = tuple({pattern for fmt in registry.reader_formats.values() for pattern in fmt.headers})
        found = _of_folder(locate(folders[0], "MODEL@SITE", headers), registry).partition(":")[0]
        return f"{found}:{given}"
    if given and name not in registry.verbalizers and expand_user(name).is_dir() and not folders:
        return f"{_of_folder(expand_user(name).absolute(), registry)},{given}"
    return named


def _of_folder(folder: Path, registry: Registry) -> str:
    """Return the only kind of verbalizer that reads a folder, with its options."""
    found, failed = dict[str, str](), dict[str, Exception]()
    for name, kind in registry.verbalizers.items():
        try:
            found[name] = kind.of_folder(folder)
        except Exception as error:  # a kind that fails on another kind's folder must not block that kind
            failed[name] = error
    reading = [f"{name}:{options}" for name, options in found.items() if options]
    if len(reading) != 1:
        kinds = " and ".join(one.partition(":")[0] for one in reading)
        raise UsageError(
            f"{folder} is a verbalizer of {f'several kinds: {kinds}' if reading else 'no installed kind'}.",
            cause=""
            if reading
            else "One of its files is missing, or its kind needs a plugin."
            + "".join(f" The kind {name} failed on it: {described(error)}." for name, error in failed.items()),
            remedy=f"Name the kind, as in NAME:checkpoint=FOLDER. Installed: {', '.join(registry.verbalizers)}.",
        )
    return reading[0]


def own_verbalizer(model: ResolvedModel, identity: str) -> str:
    """Return the name of a model's own verbalizer, or an empty text."""
    trained = trained_folder(model, identity)
    # A missing record means that training was interrupted and can be resumed.
    if (trained / TRAINING_RECORD).is_file():
        return str(trained)
    shipped = model.weights.folder / FOLDER / str(model.single_site()) if model.weights.folder else None
    return str(shipped) if shipped and shipped.is_dir() else model.released_verbalizer


def published_verbalizer(model: ResolvedModel, registry: Registry) -> str:
    """Return what names the best published reader of a model at its site, or an empty text."""
    reader = best_reader(model, registry)
    return reader.verbalizer if reader else ""


def trained_folder(model: ResolvedModel, identity: str) -> Path:
    """Return the default folder for a verbalizer of a model at its site."""
    return models_folder() / FOLDER / f"{_key(identity)}-{model.single_site()}"


def lens_file(kind: str, identity: str) -> Path:
    """Return the default file for a lens of a model.

    Args:
        kind: Name of the kind of verbalizer that reads it.
        identity: What identifies the model's weights.
    """
    return models_folder() / LENSES / f"{_key(identity)}-{kind}.safetensors"


def _key(identity: str) -> str:
    # The weights' content, not their name: a verbalizer of other weights would give wrong texts without an error.
    return hashlib.sha256(identity.encode()).hexdigest()[:16]
