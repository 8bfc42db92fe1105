"""Checkpoints as the library writes them, and what it computes with them, in torch and step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

D, LATENTS, K = 6, 20, 3


def state(kind: str = "TopK", **changed: Any) -> dict[str, Any]:
    """Return a state dict with all that the library puts into it; `changed` values of None are taken out."""
    torch.manual_seed(0)
    values: dict[str, Any] = {
        "pre_bias": torch.randn(D),
        "latent_bias": torch.randn(LATENTS) / 2,
        "stats_last_nonzero": torch.zeros(LATENTS, dtype=torch.long),
        "latents_activation_frequency": torch.ones(LATENTS),
        "latents_mean_square": torch.zeros(LATENTS),
        "encoder.weight": torch.randn(LATENTS, D),
        # The library starts from a transposed copy, which keeps the strides of what it was copied from.
        "decoder.weight": torch.randn(LATENTS, D).t(),
        "activation": kind,
        "activation_state_dict": {"k": K, "postact_fn": "ReLU"} if kind == "TopK" else {},
    }
    values |= {name.replace("__", "."): value for name, value in changed.items()}
    return {name: value for name, value in values.items() if value is not None}


def write(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(values, path)
    return path


def computed(values: dict[str, Any], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return latents and reconstruction of activations, (n, d_model)."""
    given = torch.from_numpy(x)
    mean, std = torch.zeros(len(x), 1), torch.ones(len(x), 1)
    top_k = values.get("activation", "ReLU") == "TopK"
    if top_k:
        mean = given.mean(1, keepdim=True)
        std = (given - mean).std(1, keepdim=True)
        given = (given - mean) / (std + 1e-5)
    latents = (given - values["pre_bias"]) @ values["encoder.weight"].T + values["latent_bias"]
    if top_k:
        kept = latents.topk(K, dim=1)
        latents = torch.zeros_like(latents).scatter(1, kept.indices, kept.values)
    latents = latents.relu()
    rebuilt = (latents @ values["decoder.weight"].T + values["pre_bias"]) * std + mean
    return latents.numpy(), rebuilt.numpy()
