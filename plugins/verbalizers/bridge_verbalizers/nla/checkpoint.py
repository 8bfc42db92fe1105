"""Checkpoints of the released layout: found in a folder or on the hub, and loaded with nothing taken on trust."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bridge.errors import BridgeError, ModelError
from bridge.models import Placement, Weights
from bridge.models.transformers_adapter import quiet
from bridge.models.weights import models_folder, unavailable
from bridge_verbalizers.nla.sidecar import NAME as SIDECAR

Role = Literal["av", "ar"]
AV: Role = "av"
AR: Role = "ar"
HUB = "hub:"
FILES = ("*.json", "*.safetensors", "*.yaml", "*.jinja", "*.model", "*.txt")
"""What is fetched from the hub: whatever a checkpoint needs, and no pickle."""

NOT_RUN = ("vision_tower", "multi_modal_projector")
"""Parts of a multimodal wrapper that a text trainer may not have kept."""


def halves(checkpoint: str, reconstructor: str, model: str, wanted: Sequence[str] = FILES) -> tuple[Path, Path | None]:
    """Return the folders of an AV and, where there is one, of its AR.

    Args:
        checkpoint: Folder or `hub:user/repo` that holds `av/` and maybe `ar/`, or is an AV itself.
        reconstructor: The same for the AR, or empty for what the checkpoint holds.
        model: Whose activations are explained, for advice.
        wanted: What is fetched of one on the hub.

    Raises:
        BridgeError: If there is no such folder.
        ModelUnavailableError: If the hub does not have it or cannot be reached.
    """
    root = _locate(checkpoint, model, wanted)
    other = _locate(reconstructor, model, wanted) if reconstructor else root
    av = root / AV if (root / AV).is_dir() else root
    if (other / AR).is_dir():
        return av, other / AR
    return av, other if reconstructor else None


def sidecar_folders(checkpoint: str, reconstructor: str) -> list[tuple[Role, Path]]:
    """Return where the sidecars of an AV, and of its AR if there is one, lie; of the hub's, nothing else is fetched.

    Raises:
        BridgeError: If there is no such folder.
        ModelUnavailableError: If the hub does not have it or cannot be reached.
    """
    av, ar = halves(checkpoint, reconstructor, "MODEL@SITE", (SIDECAR, f"*/{SIDECAR}"))
    return [(AV, av), (AR, ar)] if ar else [(AV, av)]


def fingerprint(folder: Path) -> str:
    """Return what tells a checkpoint from a changed one without reading it: names, sizes and times of its files."""
    files = sorted({file for pattern in FILES for file in folder.glob(pattern)})
    return json.dumps([(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files])


def load_module(folder: Path, placement: Placement, absent: tuple[str, ...] = ()) -> Any:
    """Load the causal language model of a checkpoint.

    Args:
        folder: The checkpoint.
        placement: Where and how it is held.
        absent: Ends of the names of weights that it need not have.

    Raises:
        ModelError: If a file is damaged, or weights are missing: transformers would put random ones in their place.
    """
    import torch
    from transformers import AutoModelForCausalLM

    device = placement.torch_device()
    spread: dict[str, Any] = {"device_map": "auto" if device == "cuda" else {"": device}} if "cuda" in device else {}
    with quiet():
        try:
            module, info = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=getattr(torch, placement.dtype),
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **spread,
            )
        except Exception as error:  # as in bridge.models: whatever transformers raises means that it cannot be loaded
            raise unavailable(Weights(str(folder)), error) from error
    needed = [name for name in info["missing_keys"] if not any(part in name for part in NOT_RUN)]
    missing = sorted(name for name in needed if not name.endswith(absent))
    if missing:
        raise ModelError(
            f"{folder} lacks {len(missing)} of the model's weights, {missing[0]} among them.",
            cause="It was not written or copied to the end, or its config.json is another model's.",
            remedy="Fetch or copy the whole checkpoint again.",
        )
    return module if spread else module.to(device)


def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a checkpoint as transformers' own.

    Raises:
        ModelError: If its files are missing or damaged.
    """
    from transformers import AutoTokenizer

    with quiet():
        try:
            return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            raise unavailable(Weights(str(folder)), error) from error


def _locate(text: str, model: str, wanted: Sequence[str]) -> Path:
    if text.startswith(HUB):
        name = text.removeprefix(HUB)
        by_hand = models_folder() / name
        return by_hand if by_hand.is_dir() else _fetched(name, wanted)
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise BridgeError(
            f"There is no folder {folder}.",
            remedy=f"Train a verbalizer first: bridge verbalizer train --model {model} --out {text}; or give "
            f"{HUB}user/repo for a released one.",
        )
    return folder


def _fetched(name: str, wanted: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted)))
    except Exception as error:
        raise unavailable(Weights(name), error) from error
