"""Configurations of released models, for rehearsals without a network.

Each folder is named after a model of the hub and holds as much of its `config.json` as transformers needs to count its
parameters and to build its class. The numbers are those of the file of the same name in the model's repository,
https://huggingface.co/USER/REPO; `tests/models/test_stand_ins.py` holds each to the number of parameters that the
repository states.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["bundled"]


def bundled(*models: str) -> Mapping[str, Path]:
    """Return the folders of some models, by hub id."""
    return {model: Path(__file__).parent / model.replace("/", "--") for model in models}
