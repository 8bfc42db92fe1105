"""Loading checkpoints and tokenizers of readers: safetensors only, complete, and without remote code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.models import Placement, TransformersTokenizer, Weights
from bridge.models.checkpoint import load_whole
from bridge.models.transformers_adapter import calls_of_transformers


def load_module(folder: Path, placement: Placement, absent: tuple[str, ...] = ()) -> Any:
    """Load the causal language model of a checkpoint.

    Args:
        folder: The checkpoint.
        placement: Device and dtype.
        absent: Ends of names of tensors that may be missing.

    Raises:
        ModelError: If a file is damaged, or a tensor is missing or unknown: transformers would use random weights.
    """
    import torch
    from transformers import AutoModelForCausalLM

    device = placement.torch_device()
    spread: dict[str, Any] = {"device_map": "auto" if device == "cuda" else {"": device}} if "cuda" in device else {}
    weights, dtype = Weights(str(folder.absolute())), getattr(torch, placement.dtype)
    with calls_of_transformers(weights):
        module = load_whole(AutoModelForCausalLM, weights, absent=absent, dtype=dtype, use_safetensors=True, **spread)
    return module if spread else module.to(device)


def load_tokenizer(folder: Path) -> TransformersTokenizer:
    """Load the tokenizer of a checkpoint as for every model: without random merges.

    Raises:
        ModelError: If its files are missing or damaged, or it is a slow tokenizer.
    """
    from transformers import AutoTokenizer

    with calls_of_transformers(Weights(str(folder.absolute()))):
        found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    return TransformersTokenizer(found, str(folder))
