"""Complete loading of transformers checkpoints: no weight is invented or left out, and all shapes match the model.

By default, transformers fills missing weights with random numbers, ignores weights that the model does not have, and
only warns about both.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bridge.errors import ModelError
from bridge.models.tensor_names import Stored, TensorNames, headers, listed, plain_names
from bridge.models.weights import Weights

NOT_RUN = ("vision_tower", "multi_modal_projector")
"""Parts of a multimodal wrapper that a text trainer may not have kept: no text goes through them."""

POOLER = "pooler."
"""Comes after the last block of an encoder; many checkpoints have none."""

UNPACKED = 16
"""Weights for each stored number, at most: eight of 4 bits in an integer, and as many again for tied weights."""

FLOATS = {"F64", "F32", "F16", "BF16"}


def load_whole(
    auto: Any, weights: Weights, *, absent: tuple[str, ...] = (), unread: tuple[str, ...] = (), **options: Any
) -> Any:
    """Load a model of transformers with all of its weights and no others.

    Args:
        auto: `AutoModelForCausalLM`, or `AutoModel` for one without a head.
        weights: The checkpoint; missing files are fetched.
        absent: Ends of the names of weights that may be missing.
        unread: Beginnings of the names of extra weights that are allowed.
        options: For `from_pretrained`.

    Returns:
        The model.

    Raises:
        ModelError: If weights are missing, unexpected, of another shape, of no float type, or duplicate.
        Exception: Whatever transformers raises for files that it cannot read.
    """
    from transformers import AutoConfig

    names = _names(weights, weights.tensor_files(fetch=True))
    config = AutoConfig.from_pretrained(weights.source, revision=weights.revision or None, trust_remote_code=False)
    _empty(auto, config, names, weights)
    module, info = auto.from_pretrained(
        weights.source,
        revision=weights.revision or None,
        trust_remote_code=False,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # they are told, and then refused
        **({"key_mapping": dict.fromkeys(names.patterns, "")} if names.patterns else {}),
        **options,
    )
    _hold_to(info, names, module, weights, absent, unread)
    if any(name.startswith(POOLER) for name in info["missing_keys"]):
        module.pooler = None
    return module


def check_whole(
    auto: Any, weights: Weights, config: Any, *, absent: tuple[str, ...] = (), unread: tuple[str, ...] = ()
) -> list[str]:
    """Check the same from the headers of files that are here, without reading a weight.

    Args:
        auto: `AutoModelForCausalLM`, or `AutoModel` for one without a head.
        weights: The checkpoint.
        config: Its configuration, of transformers.
        absent: Ends of the names of weights that may be missing.
        unread: Beginnings of the names of extra weights that are allowed.

    Returns:
        What is done to names, and which weights are not read, as sentences. Nothing where files are not here yet.

    Raises:
        ModelError: As `load_whole`.
        Exception: Whatever transformers raises for files that it cannot read.
    """
    import torch

    files = weights.tensor_files(fetch=False)
    if not files:
        return []
    names = _names(weights, files)
    if getattr(config, "quantization_config", None) is not None:  # its tensors are the quantiser's own
        return names.said
    empty = _empty(auto, config, names, weights)
    with torch.device("meta"):
        state = {name: torch.empty(one.shape) for name, one in names.stored.items()}
    _, info = type(empty).from_pretrained(
        None,
        config=empty.config,  # of the text model, where the checkpoint's own is that of a wrapper
        state_dict=state,
        device_map={"": "meta"},
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    return names.said + _hold_to(info, names, empty, weights, absent, unread)


def _empty(auto: Any, config: Any, names: TensorNames, weights: Weights) -> Any:
    """Return the model of a configuration without weights.

    Raises:
        ModelError: If the model has many more weights than the files, so that loading it would fill the memory.
    """
    import torch

    with torch.device("meta"):
        empty = auto.from_config(config)
    needed = sum(weight.numel() for weight in empty.parameters())
    there = sum(math.prod(one.shape) for one in names.stored.values())
    if there and needed > there * UNPACKED:  # transformers says that there are no weights
        raise ModelError(
            f"{weights.source} holds {there:,} numbers, and the model of its config.json has {needed:,} weights.",
            cause="The configuration belongs to another model, or files are missing.",
            remedy="Fetch or copy the whole checkpoint again.",
        )
    return empty


def _names(weights: Weights, files: Sequence[Any]) -> TensorNames:
    names = plain_names(headers(files), weights.source)
    if "quantization_config" not in weights.config:
        odd = [f"{name} ({one.dtype})" for name, one in names.stored.items() if _is_no_float(name, one)]
        if odd:
            raise ModelError(
                f"{weights.source} holds weights that are no floats: {listed(odd)}.",
                cause="They are quantised, and config.json does not say how (it has no quantization_config).",
                remedy="Use the original checkpoint, or the config.json that belongs to these files.",
            )
    return names


def _is_no_float(name: str, stored: Stored) -> bool:
    return stored.dtype not in FLOATS and name.endswith(("weight", "bias")) and len(stored.shape) in (1, 2, 3)


def _hold_to(
    info: Mapping[str, Any],
    names: TensorNames,
    module: Any,
    weights: Weights,
    absent: tuple[str, ...],
    unread: tuple[str, ...],
) -> list[str]:
    """Raise for what transformers made up or left out; return what is left out with good reason, as sentences."""
    twice = {name for name in names.stored if f"{module.base_model_prefix}.{name}" in names.stored}
    if twice:
        raise ModelError(
            f"{weights.source} holds tensors twice, with the prefix {module.base_model_prefix}. and without: "
            f"{listed(twice)}.",
            cause="States of two classes were saved into one checkpoint.",
            remedy="Save one of them alone.",
        )
    missing = {
        name
        for name in info["missing_keys"]
        if not (absent and name.endswith(absent)) and not any(part in name for part in NOT_RUN)
    }
    unexpected = {name for name in info["unexpected_keys"] if not _is_computed(name, names.stored.get(name), module)}
    mismatched = {str(name) for name, *_ in info["mismatched_keys"]}
    said = []
    if unread and (beside := {name for name in unexpected if name.startswith(unread)}):
        unexpected -= beside
        said.append(f"{weights.source}: what reads images or sound is not loaded ({listed(beside)}).")
    if type(module).__name__.endswith("Model"):  # loaded without a head
        missing = {name for name in missing if not name.startswith(POOLER)}
        parts = {name for name, _ in module.named_children()} | {module.base_model_prefix}
        heads = {name for name in unexpected if name.partition(".")[0] not in parts}
        unexpected -= heads
        if heads:
            said.append(f"{weights.source}: the head is not read ({listed(heads)}).")
    failed = {str(name) for name in info.get("conversion_errors") or ()}
    found = {
        "lacks": missing,
        "holds tensors that its model has no place for:": unexpected,
        "holds tensors of other shapes than its model's:": mismatched,
        "holds tensors that could not be put together:": failed | set(info.get("error_msgs") or ()),
    }
    if any(found.values()):
        what = ", and ".join(f"{verb} {listed(some)}" for verb, some in found.items() if some)
        cause, remedy = _why(missing, unexpected, mismatched, module)
        raise ModelError(f"{weights.source} {what}.", cause=cause, remedy=remedy)
    return said


def _why(missing: set[str], unexpected: set[str], mismatched: set[str], module: Any) -> tuple[str, str]:
    """Return cause and remedy of a checkpoint that is not its model's."""
    kind = type(module).__name__
    if any(".lora_" in name or ".base_layer." in name for name in unexpected):
        return (
            "It holds an adapter that was not merged into the weights.",
            "Merge it with peft (model.merge_and_unload(), then save_pretrained).",
        )
    if missing and not mismatched and all(name.split(".")[0] != module.base_model_prefix for name in missing):
        return (
            f"It was saved from a class without the head of {kind}, which would be random.",
            f"Save it from {kind}; if its head is its embedding, set tie_word_embeddings to true in config.json.",
        )
    if missing and len(missing) == len(unexpected):
        return (
            f"Its tensors are called otherwise than those of {kind}: other software wrote it, or config.json is "
            "another model's.",
            f"Name them as {kind}.save_pretrained does.",
        )
    if missing and not unexpected and not mismatched:
        return (
            "It was not written or copied to the end, or its config.json is another model's.",
            "Copy or fetch the whole checkpoint, or the config.json that belongs to it.",
        )
    return (
        f"Its config.json (of a {kind}) is another model's, or says another depth, width or vocabulary.",
        "Use the config.json that was saved with these weights.",
    )


def _is_computed(name: str, stored: Stored | None, module: Any) -> bool:
    """Tell whether old releases of transformers kept a tensor in the file that the model computes itself.

    Those are rotary frequencies, positions, and causal masks: (1, 1, tokens, tokens), or the one number for what they
    hide.
    """
    last = name.rpartition(".")[2]
    if last in ("bias", "masked_bias"):
        return stored is not None and (not stored.shape or (len(stored.shape) == 4 and stored.shape[:2] == (1, 1)))
    return last in {"inv_freq", "position_ids"} & {buffer.rpartition(".")[2] for buffer, _ in module.named_buffers()}
