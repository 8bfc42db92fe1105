"""Find the verbalizer of a model: asked for by name, trained here, lying with its weights, or released."""

from __future__ import annotations

from pathlib import Path

from bridge.errors import UsageError
from bridge.models.weights import models_folder
from bridge.pipeline.options import build
from bridge.pipeline.prepare import Side
from bridge.plugins import Registry
from bridge.verbalizers import VerbalizerBackend

FOLDER = "verbalizers"
"""Inside a checkpoint's folder: `verbalizers/SITE`, as `bridge verbalizer train` writes."""

LAYOUT = "nla"


def find_verbalizer(text: str, side: Side, registry: Registry) -> tuple[str, VerbalizerBackend]:
    """Return what names the verbalizer of a model at its site, and the kind with its options.

    Args:
        text: `NAME:OPTION=VALUE,...`, a folder that `bridge verbalizer train` wrote, or empty for the model's own.
        side: The model.
        registry: Installed plugins.

    Raises:
        UsageError: If the model has none, or the text names none.
    """
    named = text or own_verbalizer(side)
    if not named:
        label = side.model.label(side.model.single_site())
        free = ", ".join(name for name in registry.verbalizers if not name.startswith(LAYOUT))
        raise UsageError(
            f"There is no verbalizer of {label} here.",
            cause="None was trained on this machine, lies with its weights, or was released for this layer.",
            remedy=f"Train one: bridge verbalizer train --model {label}; or use one that needs no training: {free}.",
        )
    if named.partition(":")[0] not in registry.verbalizers and Path(named).expanduser().is_dir():
        named = f"{LAYOUT}:checkpoint={Path(named).expanduser().absolute()}"
    return named, build(named, registry.verbalizer)


def own_verbalizer(side: Side) -> str:
    """Return what names a model's own verbalizer, or an empty text."""
    site = str(side.model.single_site())
    folders = [trained_folder(side)]
    if side.model.weights.folder:
        folders.append(side.model.weights.folder / FOLDER / site)
    found = next((str(folder) for folder in folders if folder.is_dir()), "")
    return found or side.model.released_verbalizer


def trained_folder(side: Side) -> Path:
    """Return where a verbalizer of a model at its site goes if the user names no folder."""
    # The weights' content, not their name: a verbalizer of other weights would read these wrongly and not say so.
    key = "".join(c for c in side.identity if c.isalnum())[:16]
    return models_folder() / FOLDER / f"{key}-{side.model.single_site()}"
