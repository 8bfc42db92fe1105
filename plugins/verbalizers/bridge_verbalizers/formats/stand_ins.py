"""Stand-ins of readers that are adapters: random weights beside the small files of the real ones, with other sizes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.errors import BridgeError
from bridge.files import write_bytes, write_json
from bridge.files.json import read_json
from bridge.files.yaml import read_yaml
from bridge.models.transformers_adapter import quiet
from bridge.readers import ReaderStandIn
from bridge.readers.body import truncate
from bridge.references import Site, parse_site
from bridge_verbalizers.formats.examples import AV_TEMPLATE
from bridge_verbalizers.formats.files import ADAPTER, ADAPTER_CONFIG, is_adapter, sidecar_folder
from bridge_verbalizers.formats.meta import LAYERS
from bridge_verbalizers.formats.meta import NAME as SIDECAR

CHAT = "{{ bos_token }}{% for message in messages %}<user>{{ message['content'] }}{% endfor %}<model>"
DEEPER = 1000
"""More blocks than any model has: a site is only read."""

RANK = 4
NOT_TEXT = "vision"
BLOCK = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)\.")


def site_of(like: ReaderStandIn) -> Site:
    """Return the site that a stand-in reads."""
    return parse_site(like.site, DEEPER)


def tokenizer_of(base: Path, *placeholders: str) -> Any:
    """Load the tokenizer of a stand-in's base, with a chat template, and with placeholders that are one token each."""
    from transformers import AutoTokenizer

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    tokenizer.chat_template = tokenizer.chat_template or CHAT
    for text in placeholders:
        if len(tokenizer.encode(text, add_special_tokens=False)) != 1:
            tokenizer.add_tokens([text])
    return tokenizer


def copy_base(base: Path, folder: Path) -> None:
    """Copy the model's stand-in, without the dictionaries and verbalizers in its folder."""
    shutil.copytree(base, folder, ignore=shutil.ignore_patterns("dictionaries", "verbalizers"), dirs_exist_ok=True)


def write_av(folder: Path, like: ReaderStandIn, real: Path | None, example: Mapping[str, Any]) -> None:
    """Write an AV: a random adapter, or a copy of the model's stand-in where the real one is a whole checkpoint.

    Args:
        folder: To write.
        like: The stand-in.
        real: Folder of the real AV's small files; None if they are not here.
        example: A sidecar, for a real one that is not here.

    Raises:
        BridgeError: As `write_adapter`.
    """
    said = (read_sidecar(sidecar_folder(real)) if real else {}) or dict(example)
    char = (said.get("tokens") or {}).get("injection_char") or "~"
    tokenizer = tokenizer_of(like.base, char)
    if real is None or is_adapter(real):
        write_adapter(folder, like, real)
    else:
        copy_base(like.base, folder)
    tokenizer.save_pretrained(folder)
    said.setdefault("prompt_templates", {"av": AV_TEMPLATE})
    write_resized(folder, said, like, tokenizer.encode(char, add_special_tokens=False)[-1], char)


def write_adapter(folder: Path, like: ReaderStandIn, real: Path | None) -> None:
    """Write a random PEFT adapter on the model's stand-in; it adapts the modules that the real one's files name.

    Args:
        folder: To write.
        like: The stand-in.
        real: Folder of the real adapter's small files; None if they are not here.

    Raises:
        BridgeError: If the model has none of the modules that the real adapter names.
    """
    path = real / ADAPTER_CONFIG if real else None
    config: dict[str, Any] = read_json(path, dict[str, Any]) if path and path.is_file() else {"peft_type": "LORA"}
    for pattern in ("rank_pattern", "alpha_pattern"):
        config.pop(pattern, None)
    config |= {"r": RANK, "base_model_name_or_path": str(like.base)}
    config.setdefault("lora_alpha", RANK)
    tensors, transposed = adapter_tensors(like.base, config.get("target_modules"))
    config |= {"fan_in_fan_out": transposed}
    save(folder / ADAPTER, tensors)
    write_json(folder / ADAPTER_CONFIG, config)


def adapter_tensors(base: Path, targets: Any = None, blocks: int = DEEPER) -> tuple[dict[str, Any], bool]:
    """Return random matrices of an adapter, as peft names them, and whether the weights of its layers are transposed.

    Args:
        base: Folder of the model.
        targets: Names of modules, or a pattern, as peft has them; every linear layer if None.
        blocks: Number of blocks whose layers are adapted.

    Raises:
        BridgeError: If the model has none of these modules.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    with quiet(), torch.device("meta"):
        module = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(base))
    found = {
        name: part
        for name, part in module.named_modules()
        if isinstance(part, (torch.nn.Linear, Conv1D)) and NOT_TEXT not in name and (place := BLOCK.search(name))
        if int(place[1]) < blocks and _is_target(name, targets)
    }
    if not found:
        raise BridgeError(
            f"{type(module).__name__} has no linear layer {targets}, which the adapter's configuration names.",
            cause="The adapter belongs to a model of another class.",
        )
    random, tensors = torch.Generator().manual_seed(0), {}
    for name, part in found.items():
        transposed = isinstance(part, Conv1D)
        out, wide = part.weight.T.shape if transposed else part.weight.shape
        shapes = {"lora_A": (RANK, wide), "lora_B": (out, RANK)}
        for side, shape in shapes.items():
            tensors[f"base_model.model.{name}.{side}.weight"] = 0.02 * torch.randn(shape, generator=random)
    return tensors, all(isinstance(part, Conv1D) for part in found.values())


def _is_target(name: str, targets: Any) -> bool:
    if not targets or targets == "all-linear":
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == one or name.endswith(f".{one}") for one in targets)


def write_cut(folder: Path, like: ReaderStandIn, head: str) -> None:
    """Write the weights of an AR, cut after its block, with its head in a file of a name, and its tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM

    with quiet():
        module = AutoModelForCausalLM.from_pretrained(like.base)
        truncate(module, site_of(like).layer + 1)
        module.save_pretrained(folder)
    tokenizer_of(like.base).save_pretrained(folder)
    matrix = torch.nn.init.orthogonal_(torch.empty(like.d_model, like.d_model))
    save(folder / head, {"weight": matrix})


def save(file: Path, tensors: Mapping[str, Any]) -> None:
    """Write tensors as safetensors."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors), file)


def read_sidecar(folder: Path | None) -> dict[str, Any]:
    """Return what a real sidecar says, unchecked; empty if it is not here or damaged, which others report."""
    try:
        found = read_yaml(folder / SIDECAR) if folder else None
    except (OSError, ValueError, BridgeError):
        found = None
    return found if isinstance(found, dict) else {}


def write_resized(folder: Path, said: Mapping[str, Any], like: ReaderStandIn, token_id: int, char: str) -> None:
    """Write a sidecar with the sizes, the site, the base and the tokens of a stand-in.

    Args:
        folder: Of the sidecar.
        said: What the real sidecar says, or an example.
        like: The stand-in.
        token_id: Id of the placeholder in the stand-in's tokenizer.
        char: The placeholder.
    """
    import yaml

    site = site_of(like)
    extraction = {**(said.get("extraction") or {}), "point": "" if site.point == "resid_post" else site.point}
    sizes = {"layer_index": site.layer} | ({"d_model": like.d_model} if "d_model" in extraction else {})
    extraction = {name: value for name, value in extraction.items() if name not in LAYERS} | sizes
    if "base_model" in extraction:
        extraction["base_model"] = str(like.base)
    tokens = {"injection_char": char, "injection_token_id": token_id}
    whole = {name: value for name, value in said.items() if name not in LAYERS}
    whole |= {"d_model": like.d_model, "extraction": extraction, "tokens": tokens}
    whole |= {"base_checkpoint": str(like.base)} if "base_checkpoint" in said else {}
    write_bytes(folder / SIDECAR, yaml.safe_dump(whole, sort_keys=False, allow_unicode=True).encode())
