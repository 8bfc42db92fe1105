"""Stand-ins of EasyNLA readers for rehearsals: an adapter that reads, and an adapter with a head that reconstructs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bridge.files import write_json
from bridge.files.bounded import read_bytes
from bridge.readers import ReaderStandIn
from bridge_verbalizers.formats.easynla_layout import AR_FILE, AR_HEAD, AR_META, ARS, AVS, HEAD, ArMeta
from bridge_verbalizers.formats.examples import AR_TEMPLATE, AV_TEMPLATE
from bridge_verbalizers.formats.files import half, sidecar_folder
from bridge_verbalizers.formats.stand_ins import (
    RANK,
    adapter_tensors,
    read_sidecar,
    save,
    site_of,
    tokenizer_of,
    write_av,
    write_cut,
    write_resized,
)

EXAMPLE: Mapping[str, Any] = {
    "kind": "nla_dataset",
    "extraction": {"base_model": "", "d_model": 1, "norm": "none"},
    "prompt_templates": {"actor": AV_TEMPLATE, "critic": AR_TEMPLATE},
}


def write_stand_in(folder: Path, like: ReaderStandIn) -> None:
    """Write an AV, and an AR where the real one has one, or its files are not here."""
    real, back = like.real, like.reconstructor
    av = half(real, AVS) or real if real else None
    write_av(folder / (av.name if av and av != real else "av"), like, av, EXAMPLE)
    ar = half(real, ARS) if real else None
    if back or ar or not real:
        _write_ar(back or folder / (ar.name if ar else "ar"), like, ar, read_sidecar(_sidecar(av)))


def _write_ar(folder: Path, like: ReaderStandIn, real: Path | None, of_av: dict[str, Any]) -> None:
    import torch

    said: Mapping[str, Any] = read_sidecar(_sidecar(real)) or of_av or EXAMPLE
    templates = said.get("prompt_templates") or {}
    if not {"ar", "critic"} & set(templates):
        said = {**said, "prompt_templates": {**templates, "critic": AR_TEMPLATE}}
    write_resized(folder, said, like, -1, "")
    if real and not (real / AR_META).is_file() and (real / HEAD).is_file():
        write_cut(folder, like, HEAD)
        return
    told = ArMeta.model_validate_json(read_bytes(real / AR_META)) if real and (real / AR_META).is_file() else None
    depth = site_of(like).layer + 1
    targets = told.target_modules if told else "all-linear"
    tensors, _ = adapter_tensors(like.base, targets, depth)
    head = torch.nn.init.orthogonal_(torch.empty(like.d_model, like.d_model))
    save(folder / AR_FILE, {**tensors, AR_HEAD: head})
    tokenizer_of(like.base).save_pretrained(folder)
    stripped = told.final_norm_stripped if told else True
    meta = ArMeta(
        ar_num_layers=depth, lora_r=RANK, lora_alpha=RANK, target_modules=targets, final_norm_stripped=stripped
    )
    write_json(folder / AR_META, meta.model_dump())


def _sidecar(folder: Path | None) -> Path | None:
    return sidecar_folder(folder) if folder else None
