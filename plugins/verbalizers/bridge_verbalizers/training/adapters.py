"""Low-rank adapters (LoRA) on a copy of a model: training with checkpoints, and merging into the weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from pydantic import TypeAdapter

from bridge.errors import BridgeError, ModelError
from bridge.files import write_file
from bridge.files.sealed_arrays import UNSEALED, seal_arrays, seal_holds
from bridge.models import Placement
from bridge.progress import Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

SAVE_EVERY = 50
TELL_EVERY = 100
WARM_UP = 0.05
RECORD = "record"


def add_adapters(module: Any, rank: int) -> dict[str, nn.Parameter]:
    """Add low-rank adapters to every linear layer of a transformers model, in place, and freeze all other weights.

    Returns:
        The trainable weights by name; float32.

    Raises:
        BridgeError: If peft is not installed.
        ModelError: If the model has no linear layers to adapt.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise BridgeError(
            "Training a verbalizer needs peft.", remedy="pip install 'residual-bridge[train]'."
        ) from error
    config = LoraConfig(**lora_config(module, rank))
    module.requires_grad_(False)
    inject_adapter_in_model(config, module)
    adapters = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    for weight in adapters.values():
        # Steps are smaller than the resolution of bfloat16.
        weight.data = weight.data.float()
    return adapters


def lora_config(module: Any, rank: int) -> dict[str, Any]:
    """Return the fields of `peft.LoraConfig` for an adapter of every linear layer of a transformers model.

    Args:
        module: The model, without adapters.
        rank: Rank of the adapter.

    Raises:
        ModelError: If the model has no linear layers to adapt.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = getattr(module, "get_output_embeddings", lambda: None)()
    found = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, (nn.Linear, Conv1D)) and part is not head and "vision" not in name
    }
    if not found:
        raise ModelError(f"{type(module).__name__} has no linear layers to adapt.")
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(found),
        # The weights of GPT-2's linear layers are transposed.
        "fan_in_fan_out": all(isinstance(part, Conv1D) for part in found.values()),
    }


def merge_adapters(module: Any) -> None:
    """Add the adapters to the weights, in place and in float32; the model is then an ordinary model again."""
    from peft.tuners.lora import LoraLayer

    module.float()
    for name, part in list(module.named_modules()):
        if isinstance(part, LoraLayer):
            part.merge(safe_merge=True)
            parent, _, own = name.rpartition(".")
            setattr(module.get_submodule(parent), own, part.get_base_layer())


def mixed_precision(module: Any, placement: Placement) -> Any:
    """Return a context in which forward passes multiply in bfloat16, if the placement's dtype is bfloat16."""
    import torch

    device = next(module.parameters()).device.type
    return torch.autocast(device, torch.bfloat16, enabled=placement.dtype == "bfloat16")


def train(
    weights: Mapping[str, nn.Parameter],
    loss: Callable[[int], Tensor],
    steps: int,
    lr: float,
    saved: Path,
    identity: Mapping[str, Any],
    progress: Progress,
    name: str,
) -> list[float]:
    """Train with AdamW, with linear warm-up and decay; resume from the checkpoint of an interrupted run.

    Args:
        weights: The trainable weights by name.
        loss: Returns the loss of a step's batch, a scalar.
        steps: Number of steps.
        lr: Peak learning rate.
        saved: File for the checkpoint of the training.
        identity: Identity of the training; a checkpoint with another identity is not resumed.
        progress: Receives every step.
        name: Name of the stage.

    Returns:
        The loss of every step.
    """
    import torch

    optimizer = torch.optim.AdamW(list(weights.values()), lr=lr, weight_decay=0.0)
    losses = _restore(weights, optimizer, saved, identity)
    if losses:
        progress.note(f"Going on from step {len(losses)} of {steps}.")
    with progress.stage(name, steps, "steps") as advance:
        advance(len(losses))
        for step in range(len(losses), steps):
            optimizer.param_groups[0]["lr"] = lr * min(
                (step + 1) / (WARM_UP * steps), (steps - step) / steps * 1.1, 1.0
            )
            optimizer.zero_grad()
            found = loss(step)
            found.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(list(weights.values()), 1.0)
            optimizer.step()
            losses.append(float(found.detach()))
            if (step + 1) % SAVE_EVERY == 0 or step + 1 == steps:
                _save(weights, optimizer, saved, identity, losses)
            if (step + 1) % TELL_EVERY == 0:
                progress.note(f"{name}, step {step + 1} of {steps}: loss {np.mean(losses[-TELL_EVERY:]):.3f}")
            advance()
    return losses


def _save(
    weights: Mapping[str, nn.Parameter], optimizer: Any, saved: Path, identity: Mapping[str, Any], losses: list[float]
) -> None:
    from safetensors.torch import save_file

    tensors = {f"weight.{name}": weight.detach().contiguous() for name, weight in weights.items()}
    for name, weight in weights.items():
        state = optimizer.state[weight]
        tensors |= {f"first.{name}": state["exp_avg"], f"second.{name}": state["exp_avg_sq"]}
    record = json.dumps({"identity": identity, "losses": losses, **UNSEALED}, sort_keys=True)

    def fill(unfinished: Path) -> None:
        save_file(tensors, unfinished, {RECORD: record})
        seal_arrays(unfinished)

    write_file(saved, fill)


@final
@dataclass(frozen=True)
class _Record:
    """Metadata of a training checkpoint."""

    identity: Any
    losses: list[float]


def _restore(
    weights: Mapping[str, nn.Parameter], optimizer: Any, saved: Path, identity: Mapping[str, Any]
) -> list[float]:
    import torch
    from safetensors import SafetensorError, safe_open

    if not saved.is_file():
        return []
    try:
        if not seal_holds(saved, RECORD):
            raise ValueError("its hash is not in its metadata")
        with safe_open(saved, "pt") as file:
            record = TypeAdapter(_Record).validate_json(file.metadata()[RECORD])
            if record.identity != json.loads(json.dumps(identity)):
                return []
            for name, weight in weights.items():
                with torch.no_grad():
                    weight.copy_(file.get_tensor(f"weight.{name}"))
                optimizer.state[weight] = {
                    "step": torch.tensor(float(len(record.losses))),
                    "exp_avg": file.get_tensor(f"first.{name}"),
                    "exp_avg_sq": file.get_tensor(f"second.{name}"),
                }
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise BridgeError(
            f"{saved} cannot be resumed ({error}).", remedy="Delete it to begin again, or choose another --out."
        ) from error
    return list(record.losses)
