"""What both halves of an autoencoder are trained with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from bridge.progress import Progress
from bridge.verbalizers import Recipe, Subject
from bridge_verbalizers.nla.examples import TrainingSet


@final
@dataclass(frozen=True)
class Job:
    """One training of an AV and its AR.

    Attributes:
        subject: The model whose activations are read.
        data: Examples of them.
        recipe: How to train.
        out: Folder that `av/` and `ar/` are written into.
        identity: What a training that was interrupted must share to be resumed.
        progress: Is told of every step.
    """

    subject: Subject
    data: TrainingSet
    recipe: Recipe
    out: Path
    identity: Mapping[str, Any]
    progress: Progress

    def checkpoint(self, half: str) -> Path:
        """Return the file in which the training of a half is kept until it is done."""
        return self.out / f".{half}.safetensors"
