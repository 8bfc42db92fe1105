"""Weights in 8 or 4 bits, by transformers' own quantisation with bitsandbytes, where the user asks for it.

The numbers of a quantised model are its own: `quantised_identity` keeps them apart from those of the full weights.
"""

from __future__ import annotations

import importlib.util
import logging
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from bridge.errors import UsageError

if TYPE_CHECKING:
    from bridge.models.weights import Weights

Quantize = Literal["none", "8bit", "4bit"]
FULL: Quantize = "none"
PACKAGE = "bitsandbytes"
METHODS = {"8bit": "LLM.int8", "4bit": "NF4"}
DEVICES = ("cpu", "cuda")


def need_quantizable(kind: Quantize, family: str, quantizes: bool, weights: Weights, device: str) -> None:
    """Refuse to quantise what cannot be quantised, before anything is loaded.

    Args:
        kind: What the user asked for.
        family: Name of the model's family.
        quantizes: Whether the family heeds `Placement.quantize`.
        weights: The checkpoint; only its configuration is read.
        device: Where the model is to run, as torch names it.

    Raises:
        UsageError: If the family is not loaded by transformers, the checkpoint is quantised already, bitsandbytes is
            not installed, or it does not run on the device.
    """
    if kind == FULL:
        return
    asked, without = f"--quantize {kind}", "Leave out --quantize."
    if not quantizes:
        raise UsageError(
            f"{asked} is not possible for {weights.source}.",
            cause=f"The family {family} does not load its models through transformers, which quantises.",
            remedy=without,
        )
    if "quantization_config" in weights.config:
        raise UsageError(
            f"{asked} is not possible for {weights.source}: its weights are quantised already.",
            remedy=f"{without} Or use the original checkpoint.",
        )
    if importlib.util.find_spec(PACKAGE) is None:
        raise UsageError(
            f"{asked} needs {PACKAGE}, which is not installed.",
            remedy="pip install 'residual-bridge[quantize]', or leave out --quantize.",
        )
    if device.partition(":")[0] not in DEVICES:
        raise UsageError(
            f"{asked} is not possible on {device}.", remedy=f"Use --device {' or '.join(DEVICES)}, or no --quantize."
        )


def quantised_identity(identity: str, kind: Quantize) -> str:
    """Return the identity of weights as they are used: the checkpoint's own, with the quantisation if there is one.

    Args:
        identity: The checkpoint's.
        kind: The quantisation.
    """
    return identity if kind == FULL else f"{identity} in {kind}"


def described(kind: Quantize) -> str:
    """Return a quantisation with its method and the version of its package; empty for none."""
    return "" if kind == FULL else f"{kind} ({METHODS[kind]}, {PACKAGE} {version(PACKAGE)})"


def loading_options(kind: Quantize, dtype: str, device: str) -> dict[str, Any]:
    """Return options of `from_pretrained` that quantise linear layers; embeddings and the head stay as they are.

    Args:
        kind: The quantisation.
        dtype: Dtype of activations and of what is not quantised.
        device: Where the model goes; quantised weights cannot be moved later.
    """
    import torch
    from transformers import BitsAndBytesConfig

    if kind == FULL:
        return {}
    if kind == "8bit":
        # LLM.int8 rounds the inputs of linear layers to float16, and says so at every pass.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        compute = getattr(torch, dtype)
        config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=compute)
    return {"quantization_config": config, "device_map": "auto" if device == "cuda" else {"": device}}
