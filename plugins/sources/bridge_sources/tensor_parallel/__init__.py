"""Activations of a model that is spread over several ranks by transformers' tensor parallelism, under torchrun."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, final

from bridge.errors import UsageError
from bridge.hookspecs import hookimpl
from bridge.models import Placement, TransformersAdapter
from bridge.references import Site
from bridge.sources import ActivationBackend, ActivationSource, Checkpoint
from bridge_sources.tensor_parallel.ranks import open_ranks

bridge_api = "1.3"


@final
@dataclass(frozen=True)
class TensorParallel(ActivationBackend):
    """Every linear layer is divided between ranks, which run each batch together.

    Attributes:
        ranks: Number of processes on this machine; on CUDA each has a GPU of its own.
    """

    ranks: int = 2

    name = "tensor_parallel"
    summary = "the model divided between several processes of this machine, by transformers' tp_plan under torchrun"

    def check(self, model: Checkpoint, sites: Sequence[Site]) -> Sequence[str]:
        """Refuse models without a plan, or whose heads cannot be divided.

        Args:
            model: The model.
            sites: Any sites of the model.

        Raises:
            UsageError: If the model cannot be divided between so many ranks.
        """
        instead = "Use the source transformers: --device cuda spreads whole blocks over all GPUs."
        if self.ranks < 2:
            raise UsageError(f"tensor_parallel:ranks={self.ranks} divides nothing.", remedy="Give ranks of 2 or more.")
        if not isinstance(model.adapter, TransformersAdapter):
            raise UsageError(
                f"tensor_parallel does not serve {model.name}.",
                cause=f"The family {model.adapter.name} does not load its models through transformers.",
                remedy=instead,
            )
        config = model.weights.config.get("text_config") or model.weights.config
        if not _plan(model):
            raise UsageError(f"transformers has no plan to divide {model.name} (base_model_tp_plan).", remedy=instead)
        names = ("num_attention_heads", "num_key_value_heads", "intermediate_size")
        odd = [f"{name} {config[name]}" for name in names if (config.get(name) or 0) % self.ranks]
        if odd:
            raise UsageError(
                f"{model.name} cannot be divided between {self.ranks} ranks: {', '.join(odd)}.",
                remedy=f"Give a number of ranks that divides them. {instead}",
            )
        return ()

    def identity(self, model: Checkpoint) -> Mapping[str, str]:
        """Return the number of ranks, which changes the order of sums, and the version of torch.

        Args:
            model: The model.
        """
        return {"ranks": str(self.ranks), "torch": version("torch")}

    @contextmanager
    def open(self, model: Checkpoint, sites: Sequence[Site], placement: Placement) -> Iterator[ActivationSource]:
        """Start the ranks, and stop them at the end.

        Args:
            model: The model.
            sites: Any sites of the model.
            placement: Kind of device, and dtype.
        """
        with open_ranks(model, sites, placement, self.ranks) as source:
            yield source


def _plan(model: Checkpoint) -> Any:
    from transformers import CONFIG_MAPPING

    kind = str(model.weights.config.get("model_type", ""))
    config = CONFIG_MAPPING[kind]() if kind in CONFIG_MAPPING else None
    return getattr(config.get_text_config(), "base_model_tp_plan", None) if config else None


@hookimpl
def register_activation_sources(register: Callable[[type[ActivationBackend]], None]) -> None:
    """Offer the source `tensor_parallel`."""
    register(TensorParallel)
