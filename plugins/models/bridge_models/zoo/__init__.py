"""The bundled models: a few hundred thousand weights each, real transformers classes, trained by tools/train_zoo.py."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bridge.models import Alias

_HERE = Path(__file__).resolve().parent


def bundled(name: str, site: str, variants: Mapping[str, str] | None = None) -> Alias:
    """Return the alias of a bundled model, which is run on the bundled stories.

    Args:
        name: Of the alias; of its folder, too, where there are no variants.
        site: Where its dictionary and verbalizer are.
        variants: The folder of each variant; the alias alone means the first.
    """
    folders = {variant: str(_HERE / "checkpoints" / folder) for variant, folder in (variants or {}).items()}
    first = next(iter(folders.values()), str(_HERE / "checkpoints" / name))
    return Alias(name, first, site=site, variants=folders, corpus=str(_HERE / "stories.jsonl"))
