"""Folders with a Dyck network: `config.json` with its sizes, and `model.safetensors`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import ModelError
from bridge.files.safetensors import read_tensors
from bridge.models import Weights
from bridge_toys.dyck.shape import Shape

if TYPE_CHECKING:
    from bridge_toys.dyck.network import Network

MODEL_TYPE = "bridge-dyck"
_REMEDY = "Copy or train it again (tools/train_dyck.py); reinstalling bridge restores the bundled checkpoints."


def read_shape(weights: Weights) -> Shape:
    """Read the sizes.

    Raises:
        ModelError: If the configuration lacks them.
    """
    try:
        return Shape.of(weights.config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The config.json of {weights.source} lacks the sizes of a Dyck network ({error!r}).",
            cause="The file was edited, or written by another program.",
            remedy=_REMEDY,
        ) from error


def read(weights: Weights) -> Network:
    """Read a network, in float32 on the CPU.

    Raises:
        ModelError: If the weights are missing, damaged, or not those of the configuration.
    """
    from bridge_toys.dyck.network import Network

    if not weights.folder:
        raise ModelError(
            f"{weights.source} cannot be loaded.",
            cause="Dyck networks are read only from folders.",
            remedy="Download the folder, and give its path as the model.",
        )
    network = Network(read_shape(weights))
    path = weights.folder / "model.safetensors"
    try:
        state = read_tensors(path)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read ({error}).", cause="The file is missing, truncated or damaged.", remedy=_REMEDY
        ) from error
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The tensors in {path} do not match its config.json ({' '.join(str(error).split())[:200]}).",
            cause="Files of two checkpoints were mixed, or one was written by another program.",
            remedy=_REMEDY,
        ) from error
    return network


def save(network: Network, folder: Path) -> Path:
    """Write a network as a checkpoint; create the folder if it is missing, and return it."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": MODEL_TYPE, **asdict(network.shape)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder
