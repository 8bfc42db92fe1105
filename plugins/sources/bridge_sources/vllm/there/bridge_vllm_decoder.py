"""Imported by vLLM when it runs a wrapper: its text decoder as a model of its own, with the wrapper's weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, final

from vllm.model_executor.models.transformers import TransformersForCausalLM

PART = "language_model"


@final
class BridgeTextOfWrapper(TransformersForCausalLM):  # type: ignore[misc]
    """The decoder; vLLM refuses weights that it does not know, and misses those that it lacks."""

    def __init__(self, *, vllm_config: Any, prefix: str = "") -> None:
        text = vllm_config.model_config.hf_config.get_text_config()
        super().__init__(vllm_config=vllm_config.with_hf_config(text), prefix=prefix)

    def load_weights(self, weights: Iterable[tuple[str, Any]]) -> set[str]:
        """Load the decoder's weights, and leave those of the images."""
        found: set[str] = super().load_weights(of_the_text(weights))
        return found


def of_the_text(weights: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield the decoder's weights under its own names.

    Two layouts are in use: `language_model.model.NAME`, and `model.language_model.NAME`, each with a head if it is not
    that of the embeddings.
    """
    for name, tensor in weights:
        parts = name.split(".")
        if PART in parts[:2]:
            inner = parts[parts.index(PART) + 1 :]
            yield ".".join(inner if inner[0] in ("model", "lm_head") else ["model", *inner]), tensor
        elif parts[0] == "lm_head":
            yield name, tensor
