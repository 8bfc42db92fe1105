"""A toy family without transformers: small networks trained on Dyck-3, bundled with several seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

from bridge.hookspecs import hookimpl
from bridge.models import Alias, LoadedModel, ModelAdapter, ModelInfo, NamedCorpus, Placement, Tokenizer, Weights
from bridge.models.layout import sequential
from bridge_toys.dyck.checkpoint import MODEL_TYPE, read, read_shape, save
from bridge_toys.dyck.language import Characters
from bridge_toys.dyck.shape import Shape

_HERE = Path(__file__).resolve().parent
WORDS = "dyck-words"
_SHIPPED = ("seed0", "seed1", "seed2", "seed3", "seed4", "shared0", "shared1")


@final
class Dyck(ModelAdapter):
    """Two blocks of width 64 with about 104k weights: the toy model of arXiv 2605.24577, "Polymorphism Is Rotation".

    A checkpoint is a folder with `config.json` and `model.safetensors`; the tokenizer is the language's own. Early
    checkpoints of a run are sub-folders (`seed0/step300`).
    """

    name = "dyck"

    def aliases(self) -> Sequence[Alias]:
        """Five independent seeds, and two seeds that share frozen embeddings and heads."""
        folders = {variant: str(_HERE / "checkpoints" / variant) for variant in _SHIPPED}
        return [Alias("dyck", folders["seed0"], site="1", variants=folders)]

    def corpus(self) -> str:
        """Return the name of 3,000 held-out words of the language."""
        return WORDS

    def claims(self, weights: Weights) -> bool:
        """Claim checkpoints by `model_type`."""
        return weights.config.get("model_type") == MODEL_TYPE

    def describe(self, weights: Weights) -> ModelInfo:
        """Read the sizes from the configuration.

        Raises:
            ModelError: If the configuration lacks them.
        """
        shape = read_shape(weights)
        return ModelInfo(shape.d_model, shape.n_layers, shape.max_tokens)

    def tokenizer(self, weights: Weights) -> Tokenizer:
        """Return the characters of the language; no file is read."""
        return Characters()

    def load(self, weights: Weights, placement: Placement) -> LoadedModel:
        """Load the network; weights are read as safetensors only.

        Raises:
            ModelError: If the weights are missing, damaged, or not those of the configuration.
        """
        import torch

        network = read(weights).to(placement.torch_device(), getattr(torch, placement.dtype))
        info = self.describe(weights)
        return LoadedModel(
            Path(weights.source).name,
            network,
            sequential("blocks", attn_out="attention", resid_mid="mlp_norm", mlp_out="mlp"),
            self.tokenizer(weights),
            d_model=info.d_model,
            n_layers=info.n_layers,
            # Causal attention does not attend to the right, where all padding is, so the mask is not needed.
            inputs=lambda ids, mask: {"ids": ids},
            max_tokens=info.max_tokens,
        )

    def write_tiny_checkpoints(self, folder: Path) -> Sequence[Path]:
        """Write one random checkpoint, with other sizes than the bundled checkpoints."""
        import torch

        from bridge_toys.dyck.network import Network

        with torch.random.fork_rng():
            torch.manual_seed(0)
            network = Network(Shape(d_model=24, d_ff=40, n_layers=3, n_heads=2))
        return [save(network, folder / "dyck-0")]


@hookimpl
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Register the Dyck family."""
    register(Dyck())


@hookimpl
def register_aliases(register: Callable[[Alias | NamedCorpus], None]) -> None:
    """Register the corpus of the family."""
    register(NamedCorpus(WORDS, str(_HERE / "corpus.jsonl")))
