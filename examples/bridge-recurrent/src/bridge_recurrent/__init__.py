"""Gated linear recurrences: a family of plain torch networks without attention, which read bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

from bridge.hookspecs import hookimpl
from bridge.models import LoadedModel, ModelAdapter, ModelInfo, Placement, Tokenizer, Weights, sequential
from bridge_recurrent.checkpoint import MODEL_TYPE, Shape, read, read_shape, save
from bridge_recurrent.tokenizer import Bytes

bridge_api = "1.0"


@final
class Recurrent(ModelAdapter):
    """Folders with `config.json` and `model.safetensors`; `python -m bridge_recurrent.train` makes one.

    What another family's attention adds to the stream, here a recurrence adds: `attn_out` is its output.
    """

    name = "recurrent"

    def claims(self, weights: Weights) -> bool:
        """Claim checkpoints by `model_type`."""
        return weights.config.get("model_type") == MODEL_TYPE

    def describe(self, weights: Weights) -> ModelInfo:
        """Read the sizes; no text is too long for a state of fixed size.

        Raises:
            ModelError: If the configuration does not give them.
        """
        shape = read_shape(weights)
        return ModelInfo(shape.d_model, shape.n_layers)

    def tokenizer(self, weights: Weights) -> Tokenizer:
        """Return the bytes; no file is read."""
        return Bytes()

    def load(self, weights: Weights, placement: Placement) -> LoadedModel:
        """Load the network, and say where its sites are.

        Raises:
            ModelError: If the weights are missing, damaged, or not those of the configuration.
        """
        import torch

        network = read(weights)
        return LoadedModel(
            Path(weights.source).name,
            network.to(placement.torch_device(), getattr(torch, placement.dtype)),
            sequential("blocks", attn_out="recurrence", resid_mid="mlp_norm", mlp_out="mlp"),
            self.tokenizer(weights),
            d_model=network.shape.d_model,
            n_layers=network.shape.n_layers,
            # The state comes from the left, and all padding is to the right: the mask says nothing new.
            inputs=lambda ids, mask: {"ids": ids},
        )

    def write_tiny_checkpoints(self, folder: Path) -> Sequence[Path]:
        """Write one random checkpoint, on which the laws are tried."""
        import torch

        from bridge_recurrent.network import Network

        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Network(Shape(d_model=24, n_layers=3))
        return [save(network, folder / "recurrent-0")]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer the family."""
    register(Recurrent())
