"""Tiny random dictionaries, written by hand in the layout of each format, and rows to encode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from bridge.dictionaries import Gated, JumpReLU, ReLU, TopK

D, F = 6, 20


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = {"W_enc": (D, F), "W_dec": (F, D), "b_enc": F, "b_dec": D, "b_gate": F, "b_mag": F, "r_mag": F}
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return made | {"threshold": rng.uniform(0.1, 1, F).astype(np.float32)}


def saelens(path: Path, changes: dict[str, Any] | None = None, flat: bool = False, **weights: np.ndarray) -> Path:
    path.mkdir(parents=True)
    said = {"model_name": "tiny", "hook_name": "blocks.1.hook_resid_post", "prepend_bos": True}
    config = {"architecture": "standard", "d_in": D, "d_sae": F, "normalize_activations": "none"}
    config |= said if flat else {"metadata": said | {"sae_lens_version": "6.5.0", "init_seed": 7}}
    (path / "cfg.json").write_text(json.dumps(config | (changes or {})))
    save_file({k: np.ascontiguousarray(v) for k, v in (arrays() | weights).items()}, path / "sae_weights.safetensors")
    return path


def sparsify(path: Path, **changes: Any) -> Path:
    path.mkdir(parents=True)
    w = arrays()
    (path / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 3, "d_in": D, "num_latents": F} | changes))
    tensors = {"encoder.weight": np.ascontiguousarray(w["W_enc"].T), "encoder.bias": w["b_enc"]}
    save_file(tensors | {name: w[name] for name in ("W_dec", "b_dec")}, path / "sae.safetensors")
    return path


def dictionary_learning(path: Path, kind: str = "AutoEncoderTopK") -> Path:
    path.mkdir(parents=True)
    trainer = {"dict_class": kind, "k": 3, "layer": 2, "lm_name": "tiny", "submodule_name": "resid_post_layer_2"}
    (path / "config.json").write_text(json.dumps({"trainer": trainer | {"seed": 5}, "buffer": {"io": "out"}}))
    w = {name: torch.tensor(array) for name, array in arrays().items()}
    linear = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "decoder.weight": w["W_dec"].T}
    top = linear | {"b_dec": w["b_dec"], "k": torch.tensor(3), "threshold": torch.tensor(0.5)}
    jump = {name: w[name] for name in ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")}
    gated = {"gate_bias": w["b_gate"], "mag_bias": w["b_mag"], "r_mag": w["r_mag"], "decoder_bias": w["b_dec"]}
    gated |= {name: linear[name] for name in ("encoder.weight", "decoder.weight")}
    states = {
        "AutoEncoder": linear | {"bias": w["b_dec"]},
        "AutoEncoderTopK": top,
        "BatchTopKSAE": top,
        "JumpReluAutoEncoder": jump,
        "GatedAutoEncoder": gated,
    }
    torch.save({name: tensor.contiguous() for name, tensor in states[kind].items()}, path / "ae.pt")
    return path


def gemma_scope(path: Path) -> Path:
    folder = path / "layer_12" / "width_16k" / "average_l0_41"
    folder.mkdir(parents=True)
    names = ("W_enc", "W_dec", "b_enc", "b_dec", "threshold")
    np.savez(folder / "params.npz", **{name: arrays()[name] for name in names})
    return folder


def gemma_scope_2(path: Path, **changes: Any) -> Path:
    folder = path / "gemma-scope-2-270m-pt" / "resid_post_all" / "layer_12_width_16k_l0_small"
    folder.mkdir(parents=True)
    names = {"W_enc": "w_enc", "W_dec": "w_dec", "b_enc": "b_enc", "b_dec": "b_dec", "threshold": "threshold"}
    save_file(
        {there: np.ascontiguousarray(arrays()[name]) for name, there in names.items()}, folder / "params.safetensors"
    )
    hook = "model.layers.12.output"
    said = {"hf_hook_point_in": hook, "hf_hook_point_out": hook, "architecture": "jump_relu", "type": "sae"}
    (folder / "config.json").write_text(json.dumps(said | {"model_name": "gemma-v3-270m-pt", "l0": 20} | changes))
    return folder


WRITERS = {
    "saelens": saelens,
    "sparsify": sparsify,
    "dictionary_learning": dictionary_learning,
    "gemma_scope": gemma_scope,
    "gemma_scope_2": gemma_scope_2,
}
W = arrays()
X = np.random.default_rng(1).normal(size=(50, D)).astype(np.float32)
ACTIVATIONS = [ReLU(), TopK(3), JumpReLU(W["threshold"]), Gated(W["b_gate"], np.exp(W["r_mag"]), W["b_mag"])]
