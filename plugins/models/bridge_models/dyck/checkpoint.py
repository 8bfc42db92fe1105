"""Folders that hold a Dyck network: `config.json` with its sizes, and `model.safetensors`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bridge.errors import ModelError
from bridge.models import Weights
from bridge_models.dyck.language import MAX_DEPTH, MAX_TOKENS, VOCABULARY

if TYPE_CHECKING:
    from bridge_models.dyck.network import Network

MODEL_TYPE = "bridge-dyck"
_REMEDY = "Copy or train it again (tools/train_dyck.py); reinstalling bridge brings the shipped ones back."


@final
@dataclass(frozen=True)
class Shape:
    """Sizes of a network, under the names that its `config.json` uses.

    Attributes:
        d_model: Width of the residual stream.
        d_ff: Width of the MLPs.
        n_layers: Number of blocks.
        n_heads: Attention heads of a block; they share `d_model`.
        max_tokens: How many positions there are.
        vocabulary: How many tokens there are.
        depths: How many classes the depth head tells apart.
    """

    d_model: int = 64
    d_ff: int = 256
    n_layers: int = 2
    n_heads: int = 4
    max_tokens: int = MAX_TOKENS
    vocabulary: int = len(VOCABULARY)
    depths: int = MAX_DEPTH + 1

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read the sizes from a configuration.

        Raises:
            KeyError: If one is missing.
            TypeError: If one is no number.
            ValueError: If they make no network.
        """
        shape = cls(**{name: int(config[name]) for name in asdict(cls())})
        if min(asdict(shape).values()) < 1 or shape.d_model % shape.n_heads:
            raise ValueError("every size must be positive, and n_heads must divide d_model")
        return shape


def read_shape(weights: Weights) -> Shape:
    """Read the sizes alone.

    Raises:
        ModelError: If the configuration does not give them.
    """
    try:
        return Shape.of(weights.config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The config.json of {weights.source} gives no sizes of a Dyck network ({error!r}).",
            cause="It was edited, or written by another program.",
            remedy=_REMEDY,
        ) from error


def read(weights: Weights) -> Network:
    """Read a network, in float32 on the CPU.

    Raises:
        ModelError: If the weights are missing, damaged, or not those of the configuration.
    """
    from safetensors.torch import load_file

    from bridge_models.dyck.network import Network

    if not weights.folder:
        raise ModelError(
            f"{weights.source} cannot be loaded.",
            cause="Dyck networks are read from folders only.",
            remedy="Download it, and give the folder's path as the model.",
        )
    network = Network(read_shape(weights))
    path = weights.folder / "model.safetensors"
    try:
        state = load_file(path)
    except Exception as error:  # OSError, SafetensorError, ...: all mean that the file cannot be read
        raise ModelError(
            f"{path} cannot be read ({error}).", cause="The file is missing, truncated or damaged.", remedy=_REMEDY
        ) from error
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(
            f"The tensors in {path} are not those that its config.json tells ({' '.join(str(error).split())[:200]}).",
            cause="Files of two checkpoints were mixed, or one was written by another program.",
            remedy=_REMEDY,
        ) from error
    return network


def save(network: Network, folder: Path) -> Path:
    """Write a network as a checkpoint, in a folder that is made where it is not there, and return the folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": MODEL_TYPE, **asdict(network.shape)}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_file(network.state_dict(), folder / "model.safetensors")
    return folder
