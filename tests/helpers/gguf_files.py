"""Tiny GGUF files, written by the `gguf` package the way llama.cpp's converter writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFWriter, TokenType, quantize
from transformers import AutoModelForCausalLM

F32 = GGMLQuantizationType.F32
# By type: where the half-precision scales of a block stand, for types that the package can read but not write.
SCALES = {GGMLQuantizationType.Q4_K: (0, 2), GGMLQuantizationType.Q6_K: (208,)}
NAMES = [
    ("model.embed_tokens", "token_embd"),
    ("model.layers", "blk"),
    ("model.norm", "output_norm"),
    ("lm_head", "output"),
    ("self_attn.o_proj", "attn_output"),
    *((f"self_attn.{part}_proj", f"attn_{part}") for part in "qkv"),
    *((f"mlp.{part}_proj", f"ffn_{part}") for part in ("gate", "up", "down")),
    ("input_layernorm", "attn_norm"),
    ("post_attention_layernorm", "ffn_norm"),
]


def llama_tensors(checkpoint: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the metadata and the tensors of a tiny Llama checkpoint, as `write` takes them."""
    model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    config, tensors = model.config, {}
    for name, weight in model.state_dict().items():
        for ours, theirs in NAMES:
            name = name.replace(ours, theirs)
        tensor = weight.numpy()
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(name.split(".")[-2])
        if heads:  # llama.cpp interleaves the two halves of each rotary pair
            tensor = tensor.reshape(heads, 2, -1, config.hidden_size).swapaxes(1, 2).reshape(tensor.shape)
        tensors[name] = np.ascontiguousarray(tensor)
    return keys_of(config), tensors


def keys_of(config: Any) -> dict[str, Any]:
    """Return the metadata that every architecture has."""
    return {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", 1e-5),
        "rope.freq_base": config.rope_parameters["rope_theta"],
        "vocab_size": config.vocab_size,
    }


def write(
    path: Path,
    architecture: str,
    keys: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    tokenizer: Path,
    kinds: tuple[GGMLQuantizationType, ...] = (F32,),
    general: Mapping[str, Any] | None = None,
) -> None:
    """Write a file with the metadata `architecture.key`; matrices are stored as each of `kinds` in turn, where it fits.

    Args:
        tokenizer: A folder with a byte-level `tokenizer.json`.
        general: Metadata that is not the architecture's, by whole names.
    """
    vocabulary = json.loads((tokenizer / "tokenizer.json").read_text())["model"]
    tokens = sorted(vocabulary["vocab"], key=vocabulary["vocab"].get)
    tokens += [f"<unused{i}>" for i in range(keys["vocab_size"] - len(tokens))]
    special = [TokenType.CONTROL if token.startswith("<") and len(token) > 1 else TokenType.NORMAL for token in tokens]
    writer = GGUFWriter(path, architecture)
    add: dict[type, Any] = {int: writer.add_uint32, float: writer.add_float32}
    add |= {list: writer.add_array, str: writer.add_string, bool: writer.add_bool}
    named = {f"{architecture}.{key}": value for key, value in keys.items()} | dict(general or {})
    for key, value in named.items():
        add[type(value)](key, value)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([-0.5 * i for i in range(len(tokens))])
    writer.add_token_types(special)
    writer.add_token_merges([" ".join(merge) for merge in vocabulary["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_add_bos_token(False)
    turn = cycle(kinds)
    for name, tensor in tensors.items():
        kind = next(turn) if tensor.ndim > 1 else F32
        kind = kind if tensor.shape[-1] % GGML_QUANT_SIZES[kind][0] == 0 else F32
        writer.add_tensor(name, stored(tensor, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def stored(tensor: np.ndarray, kind: GGMLQuantizationType) -> np.ndarray:
    """Return a tensor as a file holds it; of a type that the package cannot write, random blocks."""
    if kind not in SCALES:
        return quantize(tensor, kind)
    per_block, size = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(tensor.size)
    blocks = rng.integers(0, 256, (tensor.size // per_block, size), dtype=np.uint8)
    for at in SCALES[kind]:
        blocks[:, at : at + 2] = rng.normal(0, 1e-3, (len(blocks), 1)).astype(np.float16).view(np.uint8)
    return blocks.reshape(*tensor.shape[:-1], -1)
