"""Folders that hold a network: `config.json` with its sizes, and `model.safetensors`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

from bridge.errors import ModelError
from bridge.models import Weights

if TYPE_CHECKING:
    from bridge_recurrent.network import Network

MODEL_TYPE = "bridge-recurrent"


@final
@dataclass(frozen=True)
class Shape:
    """Sizes of a network, under the names that its `config.json` uses.

    Attributes:
        d_model: Width of the residual stream, and of the state that a block carries along.
        n_layers: Number of blocks.
    """

    d_model: int = 128
    n_layers: int = 4


def read_shape(weights: Weights) -> Shape:
    """Read the sizes alone.

    Raises:
        ModelError: If the configuration does not give them.
    """
    try:
        shape = Shape(int(weights.config["d_model"]), int(weights.config["n_layers"]))
        if min(shape.d_model, shape.n_layers) < 1:
            raise ValueError(f"{shape} is no network")
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{weights.source}/config.json gives no d_model and n_layers ({error!r}).") from error
    return shape


def read(weights: Weights) -> Network:
    """Read a network, in float32 on the CPU.

    Raises:
        ModelError: If the weights are missing, damaged, or not those of the configuration.
    """
    from safetensors.torch import load_file

    from bridge_recurrent.network import Network

    network = Network(read_shape(weights))
    path = Path(weights.source) / "model.safetensors"
    try:
        network.load_state_dict(load_file(path))
    except Exception as error:  # OSError, SafetensorError, RuntimeError: all mean that this is no such network
        raise ModelError(
            f"{path} cannot be loaded ({' '.join(str(error).split())[:200]}).",
            cause="It is missing, damaged, or of another configuration.",
            remedy="Copy the folder again, or train another: python -m bridge_recurrent.train --help.",
        ) from error
    return network


def save(network: Network, folder: Path) -> Path:
    """Write a network as a checkpoint, and return the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": MODEL_TYPE, **asdict(network.shape)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder
