"""Checkpoints are read whole, under whatever prefix a wrapper gave their names, or refused by the names that differ."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, BertConfig, BertForMaskedLM, BertModel, LlamaModel

from bridge.errors import ModelError
from bridge.models import Layout, Location, Placement, TransformersAdapter, Weights
from bridge.plugins import Registry
from small_plugins import bridge

State = dict[str, torch.Tensor]
CPU = Placement("cpu", "float32")


@pytest.fixture
def folder(tiny_models: Mapping[str, list[Path]], tmp_path: Path) -> Path:
    """A tiny Llama in one file."""
    return shutil.copytree(tiny_models["llama"][0], tmp_path / "llama", ignore=shutil.ignore_patterns("model*"))


@pytest.fixture
def state(tiny_models: Mapping[str, list[Path]]) -> State:
    found: State = {}
    for file in sorted(tiny_models["llama"][0].glob("*.safetensors")):
        found |= load_file(file)
    return found


def write(folder: Path, state: State, name: str = "model.safetensors") -> Weights:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, folder / name, {"format": "pt"})
    return Weights(str(folder))


PREFIXES: dict[str, Callable[[str], str]] = {
    "_orig_mod.": lambda name: f"_orig_mod.{name}",
    "module.": lambda name: f"module.{name}",
    "base_model.model.": lambda name: f"base_model.model.{name}",
    "_orig_mod. and module.": lambda name: f"module._orig_mod.{name}",
    "module": lambda name: f"module.module.{name}",
    "_orig_mod": lambda name: f"_orig_mod.{name}".replace("layers.1.", "layers.1._orig_mod."),
    "_fsdp_wrapped_module": lambda name: name.replace("mlp.", "mlp._fsdp_wrapped_module."),
}


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("pickled", [False, True])
def test_names_are_read_without_the_prefix_of_a_wrapper(
    prefix: str, pickled: bool, folder: Path, state: State, registry: Registry
) -> None:
    renamed = {PREFIXES[prefix](name): tensor for name, tensor in state.items()}
    if pickled:
        torch.save(renamed, folder / "pytorch_model.bin")
    weights = Weights(str(folder)) if pickled else write(folder, renamed)
    [note] = registry.models["llama"].check_weights(weights)
    assert f"{len(state)} tensors are read without {prefix}" in note
    loaded = registry.models["llama"].load(weights, CPU).module.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())


def without(part: str) -> Callable[[State], State]:
    return lambda state: {name: tensor for name, tensor in state.items() if part not in name}


def plus(name: str, tensor: torch.Tensor | None = None) -> Callable[[State], State]:
    return lambda state: state | {name: torch.ones(3) if tensor is None else tensor}


SPOILERS: dict[str, tuple[Callable[[State], State], str]] = {
    "foreign prefix": (lambda s: {f"net.{name}": one for name, one in s.items()}, "lacks .*no place for: net.*called"),
    "one weight missing": (without("layers.1.mlp.up_proj"), "lacks model.layers.1.mlp.up_proj.weight. .*to the end"),
    "no head": (without("lm_head"), "lacks lm_head.weight. .*without the head of LlamaForCausalLM"),
    "one block too many": (plus("model.layers.3.mlp.up_proj.weight"), "no place for: model.layers.3.mlp.up_proj"),
    "a bias that the model lacks": (plus("model.layers.0.self_attn.q_proj.bias"), "no place for: .*q_proj.bias"),
    "another width": (plus("model.norm.weight", torch.ones(31)), "other shapes than its model's: model.norm.weight"),
    "half under a prefix": (
        lambda s: {(f"module.{name}" if "layers.1" in name else name): one for name, one in s.items()},
        "no place for: module.model.layers.1",
    ),
    "one tensor under two names": (plus("_orig_mod.model.norm.weight"), "holds tensors twice.*_orig_mod.model.norm"),
    "the same without a base's prefix": (plus("norm.weight"), "holds tensors twice, .*model. and without: norm.weight"),
    "an adapter not merged": (
        plus("model.layers.0.self_attn.q_proj.lora_A.weight", torch.ones(2, 32)),
        "no place for: .*lora_A.* Merge it with peft",
    ),
    "integers": (
        lambda s: {name: one.to(torch.int8) if "up_proj" in name else one for name, one in s.items()},
        r"no floats: .*up_proj.weight \(I8\).* quantised",
    ),
}


@pytest.mark.parametrize("name", SPOILERS)
def test_weights_that_are_not_the_models_are_refused_by_name(
    name: str, folder: Path, state: State, registry: Registry
) -> None:
    spoil, message = SPOILERS[name]
    weights = write(folder, spoil(state))
    for read in (registry.models["llama"].check_weights, lambda one: registry.models["llama"].load(one, CPU)):
        with pytest.raises(ModelError, match=message):
            read(weights)


def test_a_body_alone_is_refused_and_read_where_its_head_is_tied(
    folder: Path, state: State, registry: Registry
) -> None:
    weights = write(folder, state)
    LlamaModel.from_pretrained(folder).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"lacks lm_head.weight. .*head of LlamaForCausalLM, which would be random"):
        registry.models["llama"].load(weights, CPU)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    ours = registry.models["llama"].load(Weights(str(folder)), CPU)
    assert torch.equal(ours.module.lm_head.weight, state["model.embed_tokens.weight"])


@pytest.mark.parametrize("kind", [BertModel, BertForMaskedLM])
def test_an_encoder_is_no_causal_model(kind: type, folder: Path, registry: Registry) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    kind(BertConfig(vocab_size=512, **shape)).save_pretrained(folder)
    weights = Weights(str(folder))
    if kind is BertModel:
        with pytest.raises(ModelError, match=r"lacks cls\.predictions.*head of BertLMHeadModel.*random"):
            registry.models["huggingface"].load(weights, CPU)

    class Encoder(TransformersAdapter):
        name, model_types, causal = "encoder", ("bert",), False

        def layout(self, module: torch.nn.Module) -> Layout:
            return Layout("encoder.layer", {"resid_post": Location("", "output")})

        def tiny_configs(self) -> list[BertConfig]:
            return []

    notes = Encoder().check_weights(weights)
    assert [re.findall(r"head is not read \(cls\.predictions", note) for note in notes] == (
        [] if kind is BertModel else [["head is not read (cls.predictions"]]
    )
    module = Encoder().load(weights, CPU).module
    theirs = BertModel.from_pretrained(folder).state_dict()
    assert all(torch.equal(one, theirs[name]) for name, one in module.state_dict().items())
    assert (module.pooler is None) == (kind is BertForMaskedLM), "a pooler that the file lacks is not made up"


def test_shards_are_all_there_and_hold_each_tensor_once(
    tiny_models: Mapping[str, list[Path]], tmp_path: Path, registry: Registry, state: State
) -> None:
    folder = shutil.copytree(tiny_models["llama"][0], tmp_path / "llama")
    first, second, *_ = sorted(folder.glob("model-*.safetensors"))
    doubled = next(iter(load_file(first)))
    save_file(load_file(second) | {doubled: state[doubled]}, second, {"format": "pt"})
    with pytest.raises(ModelError, match=rf"in two of its files: {doubled}"):
        registry.models["llama"].load(Weights(str(folder)), CPU)
    second.unlink()
    with pytest.raises(ModelError, match=rf"lacks {second.name}, which model.safetensors.index.json names"):
        registry.models["llama"].check_weights(Weights(str(folder)))


def test_masks_and_frequencies_of_old_releases_are_not_missed(folder: Path, state: State, registry: Registry) -> None:
    old = {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.ones(4) for layer in range(3)}
    masks = {"model.layers.0.self_attn.attention.masked_bias": torch.tensor(-1e9)}
    assert registry.models["llama"].check_weights(write(folder, state | old | masks)) == []
    with pytest.raises(ModelError, match=r"no place for: model.layers.0.attention.bias"):
        registry.models["llama"].check_weights(write(folder, state | {"model.layers.0.attention.bias": torch.ones(9)}))


def test_a_dry_run_and_a_run_tell_and_a_result_keeps_it(
    folder: Path, state: State, tiny_models: Mapping[str, list[Path]], corpus_file: Path, tmp_path: Path
) -> None:
    write(folder, {f"_orig_mod.{name}": tensor for name, tensor in state.items()})
    other = f"{tiny_models['llama'][0]}@1"
    flags = ["--src", f"{folder}@1", "--dst", other, "--corpus", corpus_file, "--max-tokens", "48"]
    code, out, _ = bridge("run", *flags, "--dry-run")
    assert code == 0
    assert "tensors are read without _orig_mod." in " ".join(out.split())
    code, _, err = bridge("fit", *flags, "--map", "procrustes", "--out", tmp_path / "fitted")
    assert code == 0, err
    assert "tensors are read without _orig_mod." in " ".join(err.split())
    kept = json.loads((tmp_path / "fitted" / "bridge.json").read_text())["provenance"]
    assert "without _orig_mod." in kept["src"]["notes"][0]
    assert "notes" not in kept["dst"]
    write(folder, without("lm_head")(state))
    code, out, _ = bridge("run", *flags, "--dry-run")
    assert "Problem: " in out
    assert "lacks lm_head.weight" in " ".join(out.split())
    code, _, err = bridge("fit", *flags, "--out", tmp_path / "again")
    assert code == 1
    assert "Loading" not in err, "it is refused before anything is loaded"


def test_a_tied_head_that_differs_is_read_from_the_file(folder: Path, state: State, registry: Registry) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    ours = registry.models["llama"].load(write(folder, state), CPU).module
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(ours.lm_head.weight, state["lm_head.weight"])
    assert torch.equal(theirs.lm_head.weight, state["lm_head.weight"])
