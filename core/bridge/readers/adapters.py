"""Low-rank adapters: read from safetensors and added to a base model at run time, never merged into its weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.errors import BridgeError, ModelError
from bridge.files.json import read_json
from bridge.files.safetensors import read_tensors
from bridge.readers.contract import refuse_unknown
from bridge.readers.reader import Adapter

if TYPE_CHECKING:
    from torch import Tensor

CONFIG, FILE = "adapter_config.json", "adapter_model.safetensors"
USED = ("r", "lora_alpha", "use_rslora", "fan_in_fan_out", "rank_pattern", "alpha_pattern")
"""Settings of peft that determine what an adapter computes."""
IGNORED = (
    *("alpha", "arrow_config", "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying"),
    *("eva_config", "exclude_modules", "inference_mode", "init_lora_weights", "layers_pattern"),
    *("layers_to_transform", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core"),
    *("monteclora_config", "peft_type", "peft_version", "qalora_group_size", "revision", "runtime_config"),
    *("target_modules", "task_type", "velora_config"),
)
"""Settings that matter only for training, or that the names of the tensors determine."""
REFUSED = (
    *("alora_invocation_tokens", "bias", "kasa_config", "layer_replication", "lora_bias", "modules_to_save"),
    *("target_parameters", "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora"),
)
"""Settings of adapters that are more than a product of two matrices added to a weight."""
PART = re.compile(r"^(.*)\.(lora_A|lora_B|lora_embedding_A|lora_embedding_B)(?:\.default)?(?:\.weight)?$")
BLOCK = re.compile(r"(?:^|\.)((?:layers|h|blocks)\.\d+\..+)$")


def read_adapter(folder: Path) -> Adapter:
    """Describe an adapter folder, as written by `save_pretrained` of peft, without reading its weights.

    Args:
        folder: Has `adapter_config.json` and `adapter_model.safetensors`.

    Returns:
        The adapter, with the name of its base model.

    Raises:
        BridgeError: If the configuration is damaged, is not of a LoRA, or has unknown or unsupported settings.
    """
    path = folder / CONFIG
    config = read_json(path, dict[str, Any], "Fetch the adapter again.")
    check_config(config, str(path))
    return Adapter(file=folder / FILE, config=config, base=str(config.get("base_model_name_or_path") or ""))


def check_config(config: Mapping[str, Any], what: str) -> None:
    """Refuse unknown and unsupported settings of an adapter.

    Raises:
        BridgeError: The message names them.
    """
    kind = str(config.get("peft_type", "LORA"))
    if kind != "LORA":
        raise BridgeError(f"{what} describes an adapter of type {kind}; only LORA is supported.")
    refuse_unknown(config, {*USED, *IGNORED, *REFUSED}, what)
    set_ = sorted(key for key in REFUSED if config.get(key) not in (None, False, "none", [], {}))
    if set_:
        raise BridgeError(
            f"{what} sets {', '.join(f'{key}={config[key]}' for key in set_)}, which is not supported.",
            cause="Such an adapter is more than a low-rank product added to each weight.",
            remedy="Merge it with peft in the dtype that it was trained in, and use the merged checkpoint.",
        )


def add_adapter(module: Any, adapter: Adapter, name: str) -> None:
    """Add an adapter to a transformers model, in place and under a name; `use_adapter` activates it.

    Raises:
        ModelError: If the file is damaged, or belongs to another model.
    """
    from bridge.readers.low_rank import LowRank

    parts = _parts(adapter)
    modules = _resolve(module, parts, adapter)
    _check_shapes(module, parts, modules, adapter)
    for path, ours in modules.items():
        layer = module.get_submodule(ours)
        if not isinstance(layer, LowRank):
            layer = LowRank(layer)
            parent, _, own = ours.rpartition(".")
            setattr(module.get_submodule(parent), own, layer)
        a, b = parts[path, "lora_A"], parts[path, "lora_B"]
        layer.add(name, a, b, _scale(adapter, path, a.shape[0]))


def use_adapter(module: Any, name: str) -> None:
    """Activate one adapter of a model and deactivate all others; an empty name deactivates all."""
    from bridge.readers.low_rank import LowRank

    for part in module.modules():
        if isinstance(part, LowRank):
            part.use(name)


def _scale(adapter: Adapter, path: str, rank: int) -> float:
    """Return the scale of an adapter's product: alpha / rank, or alpha / sqrt(rank) if rank-stabilised.

    Raises:
        ModelError: If the rank of the tensors differs from the settings.

    Source of the square root: Kalajdzievski, "A Rank Stabilization Scaling Factor" (2023), arXiv 2312.03732.
    """
    said = int(_setting(adapter.config, "rank_pattern", path, adapter.config.get("r", 8)))
    if rank != said:
        raise ModelError(
            f"{adapter.file} has rank {rank} at {path}, but its configuration states {said}.",
            remedy="Fetch the adapter again.",
        )
    alpha = float(_setting(adapter.config, "alpha_pattern", path, adapter.config.get("lora_alpha", 8)))
    return alpha / (math.sqrt(rank) if adapter.config.get("use_rslora") else rank)


def _setting(config: Mapping[str, Any], pattern: str, path: str, default: Any) -> Any:
    """Return a module's setting: the value of the first pattern that matches the end of its path, or the default."""
    keys = config.get(pattern) or {}
    return next((value for key, value in keys.items() if re.match(rf"(.*\.)?({key})$", path)), default)


def _parts(adapter: Adapter) -> dict[tuple[str, str], Tensor]:
    """Return the tensors of an adapter by module and part."""
    file = adapter.file
    if not file.is_file():
        raise ModelError(
            f"There is no {file}.",
            cause="The adapter was saved as a pickle, or was not fetched completely.",
            remedy="Fetch it again, or save it as safetensors: pickles are never read.",
        )
    try:
        tensors = read_tensors(file)
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read ({error}).", remedy="Fetch the adapter again.") from error
    found, odd = {}, []
    for name, tensor in tensors.items():
        match = PART.match(name)
        if match and match[2] in ("lora_A", "lora_B"):
            found[match[1].removeprefix("base_model.model."), match[2]] = tensor
        elif name not in adapter.beside:
            odd.append(name)
    if odd or not found:
        raise ModelError(
            f"{file} holds {', '.join(odd[:3]) or 'nothing'}; a low-rank adapter of linear layers has only lora_A and "
            "lora_B.",
            cause="Full weights were trained together with the adapter, or it is an adapter of another type.",
        )
    return found


def _resolve(module: Any, parts: Mapping[tuple[str, str], Tensor], adapter: Adapter) -> dict[str, str]:
    """Return the path in this model of each module that an adapter names: wrappers around the blocks may differ."""
    ours = {name for name, part in module.named_modules() if hasattr(part, "weight")}
    # A second adapter finds the weights inside the layers that the first one added.
    ours = {name.removesuffix(".layer") for name in ours}
    tails: dict[str, list[str]] = {}
    for name in ours:
        if (match := BLOCK.search(name)) and "vision" not in name:
            tails.setdefault(match[1], []).append(name)
    found, lost = {}, []
    for path in sorted({path for path, _ in parts}):
        match = BLOCK.search(path)
        same = [path] if path in ours else tails.get(match[1], []) if match and "vision" not in path else []
        if len(same) == 1:
            found[path] = same[0]
        else:
            lost.append(path)
    if lost:
        raise ModelError(
            f"{adapter.file} adapts {len(lost)} modules that the base model does not have, such as {lost[0]}.",
            cause=f"The adapter belongs to {adapter.base or 'another model'}, or to a model of another depth.",
            remedy="Use the option base to give the base model that it was trained on.",
        )
    return found


def _check_shapes(
    module: Any, parts: Mapping[tuple[str, str], Tensor], modules: Mapping[str, str], adapter: Adapter
) -> None:
    for path, ours in modules.items():
        if (path, "lora_A") not in parts or (path, "lora_B") not in parts:
            raise ModelError(
                f"{adapter.file} has only one of the two matrices of {path}.", remedy="Fetch the adapter again."
            )
        a, b, weight = parts[path, "lora_A"], parts[path, "lora_B"], module.get_submodule(ours).weight
        # The weights of GPT-2's linear layers are transposed.
        if a.shape[0] != b.shape[1] or sorted((b.shape[0], a.shape[1])) != sorted(weight.shape):
            raise ModelError(
                f"{adapter.file} maps {a.shape[1]} to {b.shape[0]} dimensions at {ours}; the weight of the base model "
                f"has the shape {tuple(weight.shape)}.",
                cause=f"The adapter belongs to {adapter.base or 'another model'}.",
                remedy="Use the option base to give the base model that it was trained on.",
            )
