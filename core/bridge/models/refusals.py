"""Early refusal of checkpoints that cannot be read, with the actual reason."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError, ModelError
from bridge.files.json import read_json
from bridge.models.transformers_adapter import quiet
from bridge.models.weights import Weights

PACKAGES = {
    "aqlm": "aqlm",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed_tensors",
    "eetq": "eetq",
    "auto-round": "auto_round",
    "gptq": "gptqmodel",
    "hqq": "hqq",
    "quanto": "optimum.quanto",
    "torchao": "torchao",
    "vptq": "vptq",
}
"""Packages that transformers imports to read weights of each `quant_method`."""


def refuse_unreadable(weights: Weights) -> None:
    """Refuse adapters, quantisations whose package is not installed, and models that need their own code.

    Args:
        weights: The checkpoint; only its small files are read.

    Raises:
        ModelError: If the checkpoint is one of these; the message gives the kind and a remedy.
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
        _refuse_quantised(weights.source, quantised)
    if config.get("auto_map") and not _is_known(str(config.get("model_type", ""))):
        raise ModelError(
            f"{weights.source} brings Python code of its own (auto_map in config.json), which is never run.",
            cause=f"transformers does not know its model_type {config.get('model_type')!r}.",
            remedy="Use a version of transformers that knows it, or write a family plugin (CONTRIBUTING.md).",
        )


def _refuse_quantised(source: str, quantised: dict[str, Any]) -> None:
    """Refuse quantised weights that this machine cannot read, with the checks of loading, before loading."""
    by_bits = "bitsandbytes" if {"load_in_4bit", "load_in_8bit"} & set(quantised) else "a method that it does not name"
    method = str(quantised.get("quant_method") or by_bits)
    package = PACKAGES.get(method)
    if package and not _is_installed(package):
        raise ModelError(
            f"The weights of {source} are quantised with {method}, and {package} is not installed.",
            remedy=f"pip install {package.replace('_', '-').replace('.', '-')}, or use the original checkpoint.",
        )
    if (lacks := _lacking(quantised)) is not None:
        raise ModelError(
            f"The weights of {source} are quantised with {method}, which cannot be read here: {lacks}",
            cause="transformers reads this quantisation with other packages, on other devices, or not at all.",
            remedy="Install or use what it names, or use the original checkpoint.",
        )


def _lacking(quantised: dict[str, Any]) -> str | None:
    """Return what transformers lacks to read a quantisation on this machine, in its words; None where it has all."""
    import torch
    from transformers.quantizers import AutoHfQuantizer

    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader = AutoHfQuantizer.from_config(dict(quantised), pre_quantized=True)
            reader.validate_environment(device_map=None, dtype=torch.float32)
        except Exception as error:  # each reader raises what it likes: ImportError, ValueError, RuntimeError, ...
            return f"{str(error).strip().partition(chr(10))[0].rstrip('.') or type(error).__name__}."
    return None


def _base(folder: Path) -> str:
    try:
        said = read_json(folder / "adapter_config.json", dict[str, Any])
        return str(said.get("base_model_name_or_path") or "")
    except BridgeError:
        return ""


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _is_known(model_type: str) -> bool:
    from transformers import CONFIG_MAPPING

    return model_type in CONFIG_MAPPING
