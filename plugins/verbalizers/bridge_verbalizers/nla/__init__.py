"""Natural-language autoencoders: checkpoints that read a vector and write what it means, and the way back."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from bridge.hookspecs import hookimpl
from bridge.progress import Progress
from bridge.verbalizers import Recipe, Subject, Verbalizer, VerbalizerBackend

AV, AR = "av", "ar"


@final
@dataclasses.dataclass(frozen=True)
class NLA(VerbalizerBackend):
    """Checkpoints in the released layout, run by transformers.

    Attributes:
        checkpoint: Folder that holds `av/` and, where there is one, `ar/`; or the folder of an AV itself.
    """

    name = "nla"
    summary = "reads released and home-made NLA checkpoints (an AV, and its AR) through transformers"

    checkpoint: str = ""

    def open(self, subject: Subject) -> Verbalizer:
        """Load the AV, and find the AR."""
        raise NotImplementedError

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train an AV by LoRA, and an AR, and write them to `out/av` and `out/ar`."""
        from bridge_verbalizers.nla.examples import gather_examples
        from bridge_verbalizers.nla.train_ar import train_ar
        from bridge_verbalizers.nla.train_av import train_av

        count = recipe.steps * recipe.batch
        progress.note(f"Choosing examples for {subject.name}.")
        data = gather_examples(subject, count, recipe.characters, recipe.dictionary, subject.seed)
        names = [field.name for field in dataclasses.fields(recipe) if field.name != "dictionary"]
        identity = {name: getattr(recipe, name) for name in names} | {
            "subject": subject.name,
            "feature_examples": len(data.features.x),
            "examples": len(data.rows.x),
            "seed": subject.seed,
        }
        measured: dict[str, Any] = {AV: train_av(subject, data, recipe, out / AV, identity, progress)}
        if recipe.reconstructor:
            measured[AR] = train_ar(subject, data, recipe, out / AR, identity, progress)
        return measured


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer NLA checkpoints."""
    register(NLA)
