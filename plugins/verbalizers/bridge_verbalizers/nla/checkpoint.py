"""Checkpoints of the released layout: found in a folder or on the hub, and loaded with nothing taken on trust."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from bridge.errors import BridgeError
from bridge.files import RACY_NS, stamp_of
from bridge.models import Placement, TransformersTokenizer, Weights
from bridge.models.checkpoint import load_whole
from bridge.models.refusals import refuse_unreadable
from bridge.models.transformers_adapter import quiet
from bridge.models.weights import models_folder, unavailable
from bridge_verbalizers.nla.sidecar import NAME as SIDECAR

Role = Literal["av", "ar"]
AV: Role = "av"
AR: Role = "ar"
HUB = "hub:"
FILES = ("*.json", "*.safetensors", "*.yaml", "*.jinja", "*.model", "*.txt")
"""What is fetched from the hub: whatever a checkpoint needs, and no pickle."""

SMALL = ("config.json", "adapter_config.json")
"""What says whether a checkpoint can be read."""


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
    """Return where the sidecars of an AV, and of its AR if there is one, lie; the hub is asked for small files only.

    Checkpoints that cannot be read here are refused.

    Raises:
        BridgeError: If there is no such folder.
        ModelUnavailableError: If the hub does not have it or cannot be reached.
    """
    small = (SIDECAR, *SMALL)
    av, ar = halves(checkpoint, reconstructor, "MODEL@SITE", (*small, *(f"*/{name}" for name in small)))
    found: list[tuple[Role, Path]] = [(AV, av), (AR, ar)] if ar else [(AV, av)]
    for _, folder in found:
        refuse_unreadable(Weights(str(folder.absolute())))
    return found


def fingerprint(folder: Path) -> str:
    """Return what tells a checkpoint from a changed one: of each file name, inode, size and times of change.

    What changed a moment ago is waited for, two seconds at most: a later write might bear the same times.
    """
    files = sorted({file for pattern in FILES for file in folder.glob(pattern)})
    latest = max((stamp_of(file)[1] for file in files), default=0)
    # Times in the future are a clock's fault, and no reason to wait.
    if 0 < (left := latest + RACY_NS - time.time_ns()) <= RACY_NS:
        time.sleep(left / 1e9)
    return json.dumps([(file.name, stamp_of(file)[0]) for file in files])


def load_module(folder: Path, placement: Placement, absent: tuple[str, ...] = ()) -> Any:
    """Load the causal language model of a checkpoint.

    Args:
        folder: The checkpoint.
        placement: Where and how it is held.
        absent: Ends of the names of weights that it need not have.

    Raises:
        ModelError: If a file is damaged, or tensors and model do not fit: transformers would put random ones in place.
    """
    import torch
    from transformers import AutoModelForCausalLM

    device = placement.torch_device()
    spread: dict[str, Any] = {"device_map": "auto" if device == "cuda" else {"": device}} if "cuda" in device else {}
    weights, dtype = Weights(str(folder.absolute())), getattr(torch, placement.dtype)
    with quiet():
        try:
            module = load_whole(
                AutoModelForCausalLM, weights, absent=absent, dtype=dtype, use_safetensors=True, **spread
            )
        except BridgeError:
            raise
        except Exception as error:  # as in bridge.models: whatever transformers raises means that it cannot be loaded
            raise unavailable(weights, error) from error
    return module if spread else module.to(device)


def load_tokenizer(folder: Path) -> TransformersTokenizer:
    """Load the tokenizer of a checkpoint as bridge reads every tokenizer: nothing in it is drawn at random.

    Raises:
        ModelError: If its files are missing or damaged, or it is a slow one.
    """
    from transformers import AutoTokenizer

    with quiet():
        try:
            found = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            raise unavailable(Weights(str(folder.absolute())), error) from error
    return TransformersTokenizer(found, str(folder))


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
