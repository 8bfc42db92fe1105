"""One training: what is trained, by which options, and where its state is kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bridge.progress import Progress
from bridge.verbalizers import Recipe, Subject


@final
@dataclass(frozen=True)
class Job:
    """One training of a reader, or of an AV and its AR.

    Attributes:
        subject: The model whose activations are explained.
        recipe: Options of the training.
        out: The folder to write.
        progress: Receives every step.
        examples: Numbers of examples, and whatever else of them decides the weights.
    """

    subject: Subject
    recipe: Recipe
    out: Path
    progress: Progress
    examples: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """Identity of the training: an interrupted training is resumed only with the same identity."""
        names = [field.name for field in dataclasses.fields(self.recipe) if field.name != "dictionary"]
        return {name: getattr(self.recipe, name) for name in names} | {
            "subject": self.subject.name,
            **self.examples,
            "seed": self.subject.seed,
            "dtype": self.subject.placement.dtype,
        }

    def checkpoint(self, part: str) -> Path:
        """Return the file of a part's training checkpoint, which is kept until the training's record is written."""
        return self.out / f".{part}.safetensors"
