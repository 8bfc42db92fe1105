"""Checkpoints spoilt at random: each is read as the numbers it holds, or refused; there is no third outcome."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

from bridge.errors import BridgeError
from bridge.models import Placement, Weights
from bridge.models.gguf import checkpoint_of_gguf
from bridge.models.refusals import refuse_unreadable
from bridge.plugins import Registry
from bridge.progress import Silent
from bridge.store import Store
from gguf_files import llama_tensors, write

IDS = torch.arange(3, 30)[None]
TYPES = [torch.float64, torch.float16, torch.bfloat16, torch.int8, torch.int64, torch.bool, torch.uint8]
State = dict[str, torch.Tensor]
EDITS: dict[str, list[Any]] = {
    "num_hidden_layers": [1, 2, 4],
    "vocab_size": [511, 600],
    "hidden_size": [16, 64],
    "intermediate_size": [32],
    "num_attention_heads": [2, 8],
    "num_key_value_heads": [1, 4],
    "rms_norm_eps": [1e-3],
    "tie_word_embeddings": [True],
    "attention_bias": [True],
    "model_type": ["qwen2", "gpt2", "mistral", "nothing"],
    "quantization_config": [{"quant_method": "bitsandbytes"}, {"quant_method": "gptq"}],
    "hidden_act": ["gelu", "nothing"],
}


def spoil(state: State, config: dict[str, Any], rng: random.Random) -> str:
    """Change one thing, in place, and return what."""
    name, other = rng.sample(sorted(state), 2)
    kind = rng.choice(["renamed", "dropped", "doubled", "retyped", "reshaped", "swapped", "prefixed", "configured"])
    if kind == "renamed":
        part = rng.choice(name.split("."))
        state[name.replace(part, rng.choice(["x", f"{part}_", f"_orig_mod.{part}", f"module.{part}"]), 1)] = state.pop(
            name
        )
    elif kind == "dropped":
        del state[name]
    elif kind == "doubled":
        double = rng.choice([f"_orig_mod.{name}", f"module.{name}", name.replace("model.", "", 1), f"{name}.again"])
        double = double if double != name else f"net.{name}"
        state[double] = torch.ones_like(state[name])
    elif kind == "retyped":
        state[name] = state[name].to(rng.choice(TYPES))
    elif kind == "reshaped":
        state[name] = state[name].reshape(-1) if state[name].ndim > 1 else state[name][:-1]
    elif kind == "swapped":
        state[name], state[other] = state[other], state[name]
        return "swapped" if state[name].shape != state[other].shape else "same"
    elif kind == "prefixed":
        prefix = rng.choice(["_orig_mod.", "module.", "base_model.model.", "net.", "model.", "transformer."])
        renamed = {prefix + one: tensor for one, tensor in state.items()}
        state.clear()
        state.update(renamed)
    else:
        key = rng.choice(sorted(EDITS))
        config[key] = rng.choice(EDITS[key])
    return kind


def logits(module: Any) -> torch.Tensor:
    with torch.no_grad():
        return module(input_ids=IDS).logits


def by_hand(folder: Path, state: State) -> torch.Tensor | None:
    """Return the logits of the weights under an edited configuration, or None where the two do not fit."""
    try:
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder)).float().eval()
        model.load_state_dict(state, strict=True)
    except Exception:
        return None
    return logits(model)


def outcome(read: Callable[[], torch.Tensor], expected: torch.Tensor | None) -> str:
    try:
        found = read()
    except BridgeError:
        return "refused"
    if expected is None or found.shape != expected.shape:
        return "made up"
    return "equal" if float((found - expected).abs().max()) <= 0.02 * float(expected.abs().max()) else "wrong"


def test_a_spoilt_folder_is_read_right_or_refused(
    tiny_models: Mapping[str, list[Path]], tmp_path: Path, registry: Registry
) -> None:
    original: State = {}
    for file in sorted(tiny_models["llama"][0].glob("*.safetensors")):
        original |= load_file(file)
    original = {name: tensor * 4 if tensor.ndim > 1 else tensor for name, tensor in original.items()}
    folder = shutil.copytree(tiny_models["llama"][0], tmp_path / "m", ignore=shutil.ignore_patterns("model*"))
    plain, rng, adapter = json.loads((folder / "config.json").read_text()), random.Random(0), registry.models["llama"]
    whole = by_hand(folder, original)
    seen: Counter[str] = Counter()
    for _ in range(150):
        state, config = dict(original), dict(plain)
        kind = spoil(state, config, rng)
        if kind == "same":  # two tensors of one shape, exchanged: nothing tells
            continue
        save_file({name: one.contiguous().clone() for name, one in state.items()}, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(config))
        weights = Weights(str(folder))

        def read(weights: Weights = weights) -> torch.Tensor:
            refuse_unreadable(weights)
            adapter.check_weights(weights)
            return logits(adapter.load(weights, Placement("cpu", "float32")).module)

        edited = {key: value for key, value in config.items() if plain.get(key) != value}
        # A head that the file holds is read from it, whatever the configuration says of tying.
        expected = by_hand(folder, state) if edited and "tie_word_embeddings" not in edited else whole
        found = outcome(read, expected)
        seen[found] += 1
        assert found in ("equal", "refused"), f"{kind}: {found} {edited}"
    assert seen["equal"] > 20
    assert seen["refused"] > 60


KEYS: dict[str, list[Any]] = {
    "block_count": [2, 4],
    "embedding_length": [16],
    "feed_forward_length": [32],
    "attention.head_count": [2, 8],
    "attention.head_count_kv": [1, 4],
    "attention.key_length": [4, 16],
    "attention.sliding_window": [4],
    "attention.causal": [False],
    "attention.scale": [0.5],
    "rope.dimension_count": [4, 16],
    "rope.scaling.type": ["yarn", "longrope", "what"],
    "expert_count": [4],
    "logit_scale": [2.0],
}


def test_a_spoilt_gguf_is_read_right_or_refused(
    tiny_models: Mapping[str, list[Path]], tmp_path: Path, registry: Registry
) -> None:
    keys, tensors = llama_tensors(tiny_models["llama"][0])
    rng, seen = random.Random(1), Counter[str]()
    adapter = registry.models["llama"]
    whole = logits(adapter.load(Weights(str(tiny_models["llama"][0])), Placement("cpu", "float32")).module)
    for turn in range(40):
        some, said, kinds = dict(tensors), dict(keys), (GGMLQuantizationType.F32,)
        name = rng.choice(sorted(some))
        kind = rng.choice(["renamed", "dropped", "doubled", "retyped", "reshaped", "metadata", "metadata"])
        if kind == "renamed":
            some[name.replace("blk", "block") if "blk" in name else f"x_{name}"] = some.pop(name)
        elif kind == "dropped":
            del some[name]
        elif kind == "doubled":
            some[f"{name.removesuffix('.weight')}.bias"] = some[name]
        elif kind == "retyped":
            kinds = (rng.choice([GGMLQuantizationType.F16, GGMLQuantizationType.Q8_0, GGMLQuantizationType.BF16]),)
        elif kind == "reshaped":
            some[name] = some[name][:-1]
        else:
            key = rng.choice(sorted(KEYS))
            said[key] = rng.choice(KEYS[key])
        path = tmp_path / f"{turn}.gguf"
        write(path, "llama", said, some, tiny_models["llama"][0], kinds)

        def read(path: Path = path) -> torch.Tensor:
            folder = checkpoint_of_gguf(path, Store(tmp_path / "store"), Silent())
            return logits(adapter.load(Weights(str(folder)), Placement("cpu", "float32")).module)

        # An output matrix that is not there is the embedding's, by the format's own rule.
        expected = None if (kind, name) == ("dropped", "output.weight") else whole
        found = outcome(read, expected)
        seen[found] += 1
        assert found in ("equal", "refused") or expected is None, f"{kind} {name} {said.items() - keys.items()}"
    assert seen["equal"] > 3
    assert seen["refused"] > 20
