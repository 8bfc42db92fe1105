"""Small files of tiny readers, without weights: the laws of reader formats are tested on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.files import write_bytes, write_json
from bridge_verbalizers.formats.files import ADAPTER_CONFIG
from bridge_verbalizers.formats.meta import NAME as SIDECAR

BASE = "user/tiny-base"
AV_TEMPLATE, AR_TEMPLATE = "<concept>{injection_char}</concept>", "<text>{explanation}</text>"


def write_adapter(folder: Path) -> None:
    """Write the configuration of a PEFT adapter."""
    sizes = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}
    write_json(folder / ADAPTER_CONFIG, {"peft_type": "LORA", "base_model_name_or_path": BASE} | sizes)


def write_sidecar(folder: Path, **keys: Any) -> None:
    """Write a sidecar of an AV for vectors of 32 dimensions; `keys` add to it or replace its own."""
    import yaml

    tokens = {
        "injection_char": "~",
        "injection_token_id": 98,
        "injection_left_neighbor_id": 1,
        "injection_right_neighbor_id": 2,
    }
    sidecar = {"d_model": 32, "tokens": tokens, "prompt_templates": {"av": AV_TEMPLATE}} | keys
    write_bytes(folder / SIDECAR, yaml.safe_dump(sidecar, sort_keys=False, allow_unicode=True).encode())
