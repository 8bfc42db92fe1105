"""Files in a reader's folder: weights of AV and AR, tokenizers, and sidecars."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.files.json import read_json
from bridge.readers import Adapter, Weights
from bridge_verbalizers.formats.meta import NAME as SIDECAR
from bridge_verbalizers.formats.meta import Meta, read_meta

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER, PICKLED = "adapter_model.safetensors", "adapter_model.bin"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def half(folder: Path, names: Sequence[str]) -> Path | None:
    """Return the first existing subfolder with one of these names, or None."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def sidecar_folder(folder: Path) -> Path | None:
    """Return the folder of a sidecar: that of the weights, or its parent if a repository has one sidecar; else None."""
    return next((place for place in (folder, folder.parent) if (place / SIDECAR).is_file()), None)


def meta_of(folder: Path) -> Meta:
    """Read the sidecar of an AV or AR.

    Raises:
        BridgeError: As `read_meta`.
    """
    return read_meta(sidecar_folder(folder) or folder)


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder has a PEFT adapter."""
    return (folder / ADAPTER_CONFIG).is_file()


def weights_of(folder: Path, base: str = "") -> Weights:
    """Return the weights in a folder: a PEFT adapter or a full checkpoint.

    Args:
        folder: The folder.
        base: Base model of an adapter whose configuration names none.

    Raises:
        BridgeError: If there are none, or the adapter is a pickle.
    """
    if not is_adapter(folder):
        if (folder / "config.json").is_file():
            return Weights(folder=folder)
        raise BridgeError(
            f"{folder} has neither a checkpoint (config.json) nor an adapter ({ADAPTER_CONFIG}).",
            cause="It is not the folder of the weights, or was not copied completely.",
        )
    config = read_json(folder / ADAPTER_CONFIG, dict[str, Any])
    if (folder / PICKLED).is_file() and not (folder / ADAPTER).is_file():
        raise BridgeError(
            f"The adapter in {folder} is a pickle ({PICKLED}), which can run any code when it is loaded.",
            cause="It was saved with safe_serialization=False, or with an old version of peft.",
            remedy="Ask its authors for adapter_model.safetensors, or convert it yourself if you trust it.",
        )
    named = str(config.get("base_model_name_or_path") or base)
    adapter = Adapter(file=folder / ADAPTER, config=config, base=named)
    return Weights(adapter=adapter, tokenizer=folder if has_tokenizer(folder) else None)


def has_tokenizer(folder: Path) -> bool:
    """Tell whether a folder has all files of a tokenizer."""
    return all((folder / name).is_file() for name in TOKENIZER)
