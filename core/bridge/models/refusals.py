"""Checkpoints that cannot be read as they are, refused for the real reason before anything tries."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

from bridge.errors import ModelError
from bridge.models.weights import Weights

PACKAGES = {
    "aqlm": "aqlm",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed_tensors",
    "eetq": "eetq",
    "gptq": "gptqmodel",
    "hqq": "hqq",
    "quanto": "optimum.quanto",
    "torchao": "torchao",
    "vptq": "vptq",
}
"""What transformers imports to read weights of each `quant_method`."""


def refuse_unreadable(weights: Weights) -> None:
    """Refuse adapters, quantisations whose package is not installed, and models that are code of their own.

    Args:
        weights: The checkpoint; only its small files are looked at.

    Raises:
        ModelError: Saying which, and what would help.
    """
    folder = weights.folder
    if folder and (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder} holds an adapter (adapter_config.json), and no model.",
            cause=f"It changes another model: {_base(folder) or 'which one, it does not say'}.",
            remedy="Merge it into that model with peft (merge_and_unload, then save_pretrained), or give its base.",
        )
    config = weights.config
    quantised = config.get("quantization_config")
    if isinstance(quantised, dict):
        method = str(quantised.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in quantised else "unknown"))
        package = PACKAGES.get(method)
        if package and not _is_installed(package):
            raise ModelError(
                f"The weights of {weights.source} are quantised with {method}, and {package} is not installed.",
                remedy=f"pip install {package.replace('_', '-').replace('.', '-')}, or use the original checkpoint.",
            )
    if config.get("auto_map") and not _is_known(str(config.get("model_type", ""))):
        raise ModelError(
            f"{weights.source} brings Python code of its own (auto_map in config.json), which is never run.",
            cause=f"transformers does not know its model_type {config.get('model_type')!r}.",
            remedy="Use a version of transformers that knows it, or write a family plugin (CONTRIBUTING.md).",
        )


def _base(folder: Path) -> str:
    try:
        said = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        return str(said.get("base_model_name_or_path") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _is_known(model_type: str) -> bool:
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING
