"""Families of 2025 and 2026: aliases, blocks of several kinds, scaled blocks, shared keys, packed weights."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gguf_files
from bridge.errors import ModelError, ModelUnavailableError, UsageError
from bridge.models import Layout, Location, Placement, Weights, mixed, parallel, sequential
from bridge.models.resolve import ResolvedModel, resolve
from bridge.plugins import Registry
from bridge.progress import Silent
from bridge.references import Site
from bridge.store import Store

CPU = Placement("cpu", "float32")
ALIASES = {
    "gemma4-12b": "google/gemma-4-12B-it",
    "gemma4-26b-a4b": "google/gemma-4-26B-A4B-it",
    "gemma4-31b:base": "google/gemma-4-31B",
    "gemma4-e2b": "google/gemma-4-E2B-it",
    "gemma4-e4b:base": "google/gemma-4-E4B",
    "gpt-oss-120b": "openai/gpt-oss-120b",
    "gpt-oss-20b": "openai/gpt-oss-20b",
    "gpt-oss-20b:safeguard": "openai/gpt-oss-safeguard-20b",
    "llama4-maverick": "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
    "llama4-scout:base": "meta-llama/Llama-4-Scout-17B-16E",
    "ministral3-14b:reasoning": "mistralai/Ministral-3-14B-Reasoning-2512",
    "ministral3-3b:base": "mistralai/Ministral-3-3B-Base-2512",
    "ministral3-8b": "mistralai/Ministral-3-8B-Instruct-2512-BF16",
    "mistral-small-3.1:base": "mistralai/Mistral-Small-3.1-24B-Base-2503",
    "mistral-small-3.2": "mistralai/Mistral-Small-3.2-24B-Instruct-2506",
    "mistral-small-4": "mistralai/Mistral-Small-4-119B-2603",
    "olmo-hybrid-7b:base": "allenai/Olmo-Hybrid-7B",
    "olmo3-32b": "allenai/Olmo-3-32B-Think",
    "olmo3-32b:base": "allenai/Olmo-3-1125-32B",
    "olmo3-7b": "allenai/Olmo-3-7B-Instruct",
    "olmo3-7b:base": "allenai/Olmo-3-1025-7B",
    "olmo3.1-32b:think": "allenai/Olmo-3.1-32B-Think",
    "qwen3-next-80b-a3b": "Qwen/Qwen3-Next-80B-A3B-Instruct",
    "qwen3.5-0.8b:base": "Qwen/Qwen3.5-0.8B-Base",
    "qwen3.5-27b": "Qwen/Qwen3.5-27B",
    "qwen3.5-35b-a3b:base": "Qwen/Qwen3.5-35B-A3B-Base",
    "qwen3.5-397b-a17b": "Qwen/Qwen3.5-397B-A17B",
    "qwen3.6-27b": "Qwen/Qwen3.6-27B",
    "qwen3.6-35b-a3b": "Qwen/Qwen3.6-35B-A3B",
    "smollm3-3b": "HuggingFaceTB/SmolLM3-3B",
    "smollm3-3b:base": "HuggingFaceTB/SmolLM3-3B-Base",
}


@pytest.fixture
def find(registry: Registry, isolated: Path, tmp_path: Path) -> Callable[[str], ResolvedModel]:
    return lambda text: resolve(text, registry.models, Store(tmp_path / "store"), Silent(), registry.aliases)


@pytest.mark.parametrize("alias", ALIASES)
def test_aliases_mean_models_of_the_hub(alias: str, find: Callable[[str], ResolvedModel]) -> None:
    with pytest.raises(ModelUnavailableError, match=f"of {re.escape(ALIASES[alias])} are not on this machine"):
        find(f"{alias}@1")


def blocks_with(attention: str, mlp: str = "mlp") -> Layout:
    return sequential("model.layers", attn_out=attention, resid_mid="norm", mlp_out=mlp)


def test_a_mixed_layout_has_a_place_for_every_block() -> None:
    layout = mixed([blocks_with("a"), blocks_with("b"), blocks_with("a"), blocks_with("b", "c"), blocks_with("b")])
    assert [layout.locate(Site(layer, "attn_out"))[0][-1] for layer in range(5)] == ["a", "b", "a", "b", "b"]
    assert [layout.locate(Site(layer, "mlp_out"))[0][-1] for layer in (1, 3)] == ["p", "c"]
    assert layout.locate(Site(3, "resid_post")) == ("model.layers.3", "output")
    assert layout.kinds() == [0, 1, 3], "one block of each kind is probed"
    assert blocks_with("a").kinds() == [0]
    assert mixed([blocks_with("a")] * 2) == blocks_with("a")


@pytest.mark.parametrize(
    "layouts",
    [
        [],
        [blocks_with("a"), sequential("other.layers", attn_out="a", resid_mid="norm", mlp_out="mlp")],
        [blocks_with("a"), parallel("model.layers", attn_out="a", mlp_out="mlp")],
    ],
)
def test_a_mixed_layout_has_the_same_points_in_every_block(layouts: list[Layout]) -> None:
    with pytest.raises(ValueError, match="one layout a block"):
        mixed(layouts)


def test_a_later_kind_of_block_is_probed_when_a_model_is_loaded(
    registry: Registry, tiny_models: Mapping[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The full attention is in the fourth block, and what is wrong there is found at once."""
    family = registry.models["qwen3_5"]
    right = type(family).layout

    def narrower(self: Any, module: Any) -> Layout:
        layout = right(self, module)
        places = [layout.at("attn_out", layer) for layer in range(len(module.model.layers))]
        places[3] = Location("self_attn.q_proj", "output")
        return Layout(layout.blocks, {**layout.points, "attn_out": places})

    monkeypatch.setattr(type(family), "layout", narrower)
    with pytest.raises(ModelError, match=r"at site 3\.attn_out"):
        family.load(Weights(str(tiny_models["qwen3_5"][0])), CPU)


def logits_of(path: Path, ids: Any, kind: str = "AutoModelForCausalLM") -> tuple[Any, Any]:
    """Return what transformers alone makes of ids: the states between blocks, and the logits."""
    import torch
    import transformers

    model = getattr(transformers, kind).from_pretrained(path, dtype=torch.float32).eval()
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, use_cache=False)
    return out.hidden_states, out.logits


@pytest.mark.parametrize("index", [0, 3])
def test_gemma4_blocks_that_scale_their_output(
    index: int, registry: Registry, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    import torch
    import transformers

    path = tmp_path / "scaled"
    source = tiny_models["gemma4"][index]
    (named,) = json.loads((source / "config.json").read_text())["architectures"]
    model = getattr(transformers, named).from_pretrained(source)
    for name, buffer in model.named_buffers():
        if name.endswith("layer_scalar"):
            buffer.fill_(0.3 + 0.1 * int(name.split(".")[-2]))
    model.save_pretrained(path)
    for file in source.glob("token*"):
        (path / file.name).write_bytes(file.read_bytes())
    family = registry.models["gemma4"]
    assert family.check_weights(Weights(str(path))) == []
    loaded = family.load(Weights(str(path)), CPU)
    ids = torch.arange(2, 22)[None]
    states, _ = logits_of(path, ids)
    sites = [Site(layer, point) for layer in range(6) for point in ("resid_pre", "attn_out", "resid_mid", "resid_post")]
    read = dict(zip(sites, loaded.activations(ids, torch.ones_like(ids), sites), strict=True))
    for layer in range(6):
        torch.testing.assert_close(read[Site(layer, "resid_pre")], states[layer], rtol=0, atol=1e-5)
        middle = read[Site(layer, "resid_pre")] + read[Site(layer, "attn_out")]
        torch.testing.assert_close(read[Site(layer, "resid_mid")], middle, rtol=0, atol=1e-5)
    with pytest.raises(UsageError, match="no mlp_out"):
        loaded.layout.locate(Site(1, "mlp_out"))
    blocks = loaded.layout.blocks
    (mlp,) = loaded.activations(ids, torch.ones_like(ids), [Site(1, f"{blocks}.1.post_feedforward_layernorm")])
    assert mlp.shape == (1, 20, 40)


def test_gemma4_blocks_with_borrowed_keys_see_every_token_of_a_part(
    registry: Registry, tiny_models: Mapping[str, list[Path]]
) -> None:
    """With logits of one token asked for, transformers runs the last two blocks on that token alone."""
    import torch

    loaded = registry.models["gemma4"].load(Weights(str(tiny_models["gemma4"][0])), CPU)
    seen = []

    def edit(value: Any) -> Any:
        seen.append(value.shape[1])
        value[:, 3] += 5
        return value

    ids = np.arange(2, 14)
    found = loaded.decoding(12).read([ids], [{Site(5, "resid_pre"): edit, Site(1): edit}])
    assert seen == [12, 12]
    given = torch.from_numpy(ids)[None]
    plain = loaded.logits(given, torch.ones_like(given), {Site(1): edit})
    torch.testing.assert_close(found[0], plain[0, -1], rtol=0, atol=1e-5)


FP4 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], dtype=np.float32)
"""What the three bits after the sign mean; Open Compute Project, Microscaling Formats 1.0, E2M1."""


def packed(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return random MXFP4 blocks and scales of (experts, out, in), and the numbers that they stand for."""
    rng = np.random.default_rng(seed)
    experts, rows, columns = shape
    blocks = rng.integers(0, 256, (experts, rows, columns // 32, 16), dtype=np.uint8)
    scales = rng.integers(118, 124, (experts, rows, columns // 32), dtype=np.uint8)
    nibbles = np.stack([blocks & 15, blocks >> 4], axis=-1).reshape(experts, rows, columns // 32, 32)
    numbers = FP4[nibbles & 7] * np.where(nibbles & 8, -1, 1) * np.exp2(scales.astype(np.float32) - 127)[..., None]
    return blocks, scales, numbers.reshape(shape).astype(np.float32)


def rewritten(source: Path, path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], **config: Any) -> Path:
    """Copy a checkpoint with other tensors and more in its configuration."""
    from safetensors.torch import load_file, save_file

    path.mkdir()
    tensors = {name: one for file in source.glob("*.safetensors") for name, one in load_file(file).items()}
    save_file(change(tensors), path / "model.safetensors", metadata={"format": "pt"})
    for file in source.glob("*.json"):
        if "index" not in file.name:
            (path / file.name).write_bytes(file.read_bytes())
    said = json.loads((path / "config.json").read_text()) | config
    (path / "config.json").write_text(json.dumps(said))
    return path


def test_gpt_oss_experts_are_unpacked(
    registry: Registry, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    import torch

    source = tiny_models["gpt_oss"][0]

    def pack(tensors: dict[str, Any], plain: bool) -> dict[str, Any]:
        changed = {}
        for name, one in tensors.items():
            if not name.endswith(("gate_up_proj", "down_proj")):
                changed[name] = one
                continue
            experts, columns, rows = one.shape
            blocks, scales, numbers = packed((experts, rows, columns), sum(name.encode()))
            both = {f"{name}_blocks": torch.from_numpy(blocks), f"{name}_scales": torch.from_numpy(scales)}
            changed |= {name: torch.from_numpy(numbers).transpose(1, 2).contiguous()} if plain else both
        return changed

    said = {"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}
    weights = rewritten(source, tmp_path / "packed", lambda all_: pack(all_, False), quantization_config=said)
    plain = rewritten(source, tmp_path / "plain", lambda all_: pack(all_, True))
    family = registry.models["gpt_oss"]
    ids = torch.arange(2, 22)[None]
    states, logits = logits_of(plain, ids)
    for dtype in ("float32", "bfloat16"):
        loaded = family.load(Weights(str(weights)), Placement("cpu", dtype))
        assert {weight.dtype for weight in loaded.module.parameters()} == {getattr(torch, dtype)}
        if dtype == "float32":
            read = loaded.activations(ids, torch.ones_like(ids), [Site(layer, "resid_pre") for layer in range(3)])
            torch.testing.assert_close(list(read), list(states[:3]), rtol=0, atol=1e-5)
            torch.testing.assert_close(loaded.logits(ids, torch.ones_like(ids)), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("scaled_by", ["block", "tensor"])
def test_mistral3_fp8_weights_are_unpacked(
    scaled_by: str, registry: Registry, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    import torch

    source = tiny_models["mistral3"][3]

    def pack(tensors: dict[str, Any], plain: bool) -> dict[str, Any]:
        changed = {}
        for name, one in tensors.items():
            if "language_model" not in name or not name.endswith("proj.weight"):
                changed[name] = one
                continue
            size = one.shape if scaled_by == "tensor" else (16, 16)
            parts = one.reshape(one.shape[0] // size[0], size[0], one.shape[1] // size[1], size[1])
            scale = parts.abs().amax((1, 3), keepdim=True) / 448
            stored = (parts / scale).to(torch.float8_e4m3fn)
            if plain:
                changed[name] = (stored.float() * scale).reshape(one.shape)
            else:
                scale = scale.squeeze() if scaled_by == "tensor" else scale[:, 0, :, 0]
                changed |= {name: stored.reshape(one.shape), f"{name}_scale_inv": scale.contiguous()}
                if scaled_by == "tensor":
                    changed[name.replace("weight", "activation_scale")] = torch.tensor(0.5)
        return changed

    said = {
        "quant_method": "fp8",
        "weight_block_size": None if scaled_by == "tensor" else [16, 16],
        "activation_scheme": "static" if scaled_by == "tensor" else "dynamic",
        "modules_to_not_convert": ["model.vision_tower", "model.multi_modal_projector", "lm_head"],
    }
    weights = rewritten(source, tmp_path / "packed", lambda all_: pack(all_, False), quantization_config=said)
    plain = rewritten(source, tmp_path / "plain", lambda all_: pack(all_, True))
    ids = torch.arange(2, 22)[None]
    states, logits = logits_of(plain, ids, "AutoModelForImageTextToText")
    loaded = registry.models["mistral3"].load(Weights(str(weights)), CPU)
    assert {weight.dtype for weight in loaded.module.parameters()} == {torch.float32}
    read = loaded.activations(ids, torch.ones_like(ids), [Site(layer, "resid_pre") for layer in range(3)])
    torch.testing.assert_close(list(read), list(states[:3]), rtol=0, atol=1e-5)
    torch.testing.assert_close(loaded.logits(ids, torch.ones_like(ids)), logits, rtol=0, atol=1e-5)


def test_llama4_says_that_images_are_not_read(registry: Registry, tiny_models: Mapping[str, list[Path]]) -> None:
    family = registry.models["llama4"]
    weights = Weights(str(tiny_models["llama4"][2]))
    (said,) = family.check_weights(weights)
    assert "what reads images or sound is not loaded (" in said
    assert "vision_model." in said
    assert (
        family.parameters(weights) < sum(one.stat().st_size for one in Path(weights.source).glob("*.safetensors")) / 4
    )


def test_wrappers_lack_nothing_of_their_text_model(
    registry: Registry, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    """What is not read must not hide what is missing."""
    lost = "1.post_attention_layernorm.weight"
    for name, index in (("llama4", 2), ("qwen3_5", 3), ("mistral3", 3)):
        source, path = tiny_models[name][index], tmp_path / name
        rewritten(
            source,
            path,
            lambda all_: {key: one for key, one in all_.items() if not key.endswith(lost)},
        )
        family = registry.models[name]
        with pytest.raises(ModelError, match=r"lacks .*1\.post_attention_layernorm"):
            family.check_weights(Weights(str(path)))
        with pytest.raises(ModelError, match=r"lacks .*1\.post_attention_layernorm"):
            family.load(Weights(str(path)), CPU)


@pytest.mark.parametrize(("written_by", "tokens"), [("4.50.0", ["Camel", "Case"]), ("5.23.0", ["CamelCase"])])
@pytest.mark.parametrize(("family", "index"), [("mistral", 0), ("mistral3", 2)])
def test_mistral_words_are_cut_as_by_its_own_tokenizer(
    family: str,
    index: int,
    written_by: str,
    tokens: list[str],
    registry: Registry,
    tiny_models: Mapping[str, list[Path]],
    tmp_path: Path,
) -> None:
    """Tekken cuts before a capital letter; the pattern in old files does not. transformers knows it by its size."""
    config = {"transformers_version": written_by} | ({"vocab_size": 131_072} if family == "mistral" else {})
    path = rewritten(tiny_models[family][index], tmp_path / "old", lambda all_: all_, **config)
    said = json.loads((path / "tokenizer.json").read_text())
    pattern = {"type": "Split", "pattern": {"Regex": r"\p{L}+|\P{L}+"}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    said["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [pattern, byte_level]}
    said["model"]["vocab"] |= {f"<{i}>": i for i in range(len(said["model"]["vocab"]), 100_002)}
    (path / "tokenizer.json").write_text(json.dumps(said))
    found: Any = registry.models[family].tokenizer(Weights(str(path)))
    cut = found.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("CamelCase")
    assert [text for text, _ in cut] == tokens


PAGES = Path(__file__).parents[2] / "docs" / "models"


@pytest.mark.parametrize("family", ["gemma4", "gpt_oss", "llama4", "mistral3", "olmo3", "qwen3_5", "smollm3"])
def test_pages_name_every_alias_and_model(family: str, registry: Registry) -> None:
    page = (PAGES / f"{family}.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    said = {alias.strip(" `"): f"{model} {variants}".replace(",", "").split() for alias, model, variants, _ in rows}
    for alias in registry.models[family].aliases():
        named = " ".join([f"`{alias.model}`", *(f"`{name}`: `{model}`" for name, model in alias.variants.items())])
        assert said[alias.name] == named.split()
    assert set(said) == {alias.name for alias in registry.models[family].aliases()}
    for model_type in registry.models[family].model_types:
        assert f"`{model_type}`" in page


def qwen35_tensors(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return the metadata and tensors of a Qwen3.5, as llama.cpp's converter changes them."""
    config = model.config
    keys, per_key = config.linear_num_key_heads, config.linear_num_value_heads // config.linear_num_key_heads
    width, queries = config.linear_value_head_dim, 2 * keys * config.linear_key_head_dim

    def tiled(values: np.ndarray, size: int) -> np.ndarray:
        """Put value heads that belong to one key apart: the first of every key, then the second of every key."""
        return values.reshape(keys, per_key, size, *values.shape[1:]).swapaxes(0, 1).reshape(values.shape)

    def fused(values: np.ndarray) -> np.ndarray:
        return np.concatenate([values[:queries], tiled(values[queries:], width)])

    change: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "A_log": lambda one: tiled(-np.exp(one), 1),
        "dt_bias": lambda one: tiled(one, 1),
        "in_proj_a.weight": lambda one: tiled(one, 1),
        "in_proj_b.weight": lambda one: tiled(one, 1),
        "in_proj_z.weight": lambda one: tiled(one, width),
        "in_proj_qkv.weight": fused,
        "conv1d.weight": lambda one: fused(one[:, 0]),
        "out_proj.weight": lambda one: tiled(one.T, width).T,
        "norm.weight": lambda one: one + 1,  # of the stream, of queries and keys; the one in linear attention is not
    }
    tensors = {}
    for name, weight in model.state_dict().items():
        kind = ".".join(name.split(".")[-2:]) if name.endswith("weight") else name.split(".")[-1]
        kind = "norm.weight" if kind.endswith("norm.weight") and "linear_attn" not in name else kind
        new = weight.numpy()
        if kind in change and not ("linear_attn" in name and kind == "norm.weight"):
            new = change[kind](new)
        for ours, theirs in QWEN35_NAMES:
            name = name.replace(ours, theirs)
        tensors[name] = np.ascontiguousarray(new)
    said = gguf_files.keys_of(config) | {
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "full_attention_interval": 4,
        "rope.dimension_count": 6,
        "rope.dimension_sections": [1, 1, 1, 0],
        "ssm.conv_kernel": config.linear_conv_kernel_dim,
        "ssm.group_count": keys,
        "ssm.inner_size": width * keys * per_key,
        "ssm.state_size": config.linear_key_head_dim,
        "ssm.time_step_rank": keys * per_key,
    }
    return said, tensors


QWEN35_NAMES = [
    ("linear_attn.in_proj_qkv", "attn_qkv"),
    ("linear_attn.in_proj_z", "attn_gate"),
    ("linear_attn.in_proj_a", "ssm_alpha"),
    ("linear_attn.in_proj_b", "ssm_beta"),
    ("linear_attn.conv1d", "ssm_conv1d"),
    ("linear_attn.norm", "ssm_norm"),
    ("linear_attn.out_proj", "ssm_out"),
    ("linear_attn.A_log", "ssm_a"),
    ("linear_attn.dt_bias", "ssm_dt.bias"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "post_attention_norm"),
    *gguf_files.NAMES,
]


def test_qwen35_gguf_files_are_read(
    registry: Registry, tiny_models: Mapping[str, list[Path]], find: Callable[[str], ResolvedModel], tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    source = tiny_models["qwen3_5"][0]
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    keys, tensors = qwen35_tensors(model)
    gguf_files.write(tmp_path / "tiny.gguf", "qwen35", keys, tensors, source)
    found = find(f"{tmp_path / 'tiny.gguf'}@3")
    assert (found.adapter.name, found.info.d_model, found.info.n_layers) == ("qwen3_5", 32, 5)
    loaded = found.adapter.load(found.weights, CPU)
    ids = torch.arange(2, 22)[None]
    states, logits = logits_of(source, ids)
    read = loaded.activations(ids, torch.ones_like(ids), [Site(layer, "resid_pre") for layer in range(5)])
    torch.testing.assert_close(list(read), list(states[:5]), rtol=0, atol=1e-5)
    torch.testing.assert_close(loaded.logits(ids, torch.ones_like(ids)), logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "architecture", "said"),
    [
        ("gemma4", "gemma4", "reads in part only.*share keys"),
        ("gpt_oss", "gpt-oss", r"reads in part only.*YaRN"),
        ("llama4", "llama4", "architecture llama4 is not supported"),
        ("olmo3", "olmo3", "architecture olmo3 is not supported"),
        ("smollm3", "smollm3", "architecture smollm3 is not supported"),
        ("mistral3", "mistral3", "architecture mistral3 is not supported"),
    ],
)
def test_other_gguf_files_are_refused_in_words(
    family: str,
    architecture: str,
    said: str,
    registry: Registry,
    tiny_models: Mapping[str, list[Path]],
    find: Callable[[str], ResolvedModel],
    tmp_path: Path,
) -> None:
    config = registry.models["llama"].tiny_configs()[0]  # type: ignore[attr-defined]
    keys = gguf_files.keys_of(config)
    tensors = {f"{name}.weight": np.zeros((512, 32), np.float32) for name in ("token_embd", "output", "output_norm")}
    gguf_files.write(tmp_path / "tiny.gguf", architecture, keys, tensors, tiny_models[family][0])
    with pytest.raises(ModelError, match=said):
        find(f"{tmp_path / 'tiny.gguf'}@1")
