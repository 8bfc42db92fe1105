"""The inputs that the trainings of both halves of an autoencoder share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bridge.progress import Progress
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.training.examples import TrainingSet


@final
@dataclass(frozen=True)
class Job:
    """One training of an AV and its AR.

    Attributes:
        subject: The model whose activations are explained.
        data: Examples of its activations.
        recipe: Options of the training.
        out: Folder for `av/` and `ar/`.
        identity: Identity of the training; an interrupted training is resumed only with the same identity.
        progress: Receives every step.
    """

    subject: Subject
    data: TrainingSet
    recipe: Recipe
    out: Path
    identity: Mapping[str, Any]
    progress: Progress

    def checkpoint(self, half: str) -> Path:
        """Return the file of a half's training checkpoint, which is kept until the training's record is written."""
        return self.out / f".{half}.safetensors"
