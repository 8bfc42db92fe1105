"""A module that is named by its path: exactly its output, as a plain forward hook sees it, or a refusal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.collect import pad
from bridge.corpus import Document
from bridge.errors import UsageError
from bridge.models import Placement, TransformersAdapter, Weights
from bridge.plugins import Registry
from bridge.references import Site, parse_site

CPU = Placement("cpu", "float32")
TEXTS = ["the map between the models", "a rotation"]
SIZES: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
# Classes whose attention or MLP is followed by a norm, or adds the stream itself (BLOOM).
OTHERS = ("BloomConfig", "Exaone4Config", "Glm4Config", "Olmo3Config", "CohereConfig")


def written(name: str, registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a tiny random checkpoint of a class that has no family of its own."""
    import transformers

    config = getattr(transformers, name)(**SIZES)
    adapter = registry.models["huggingface"]
    monkeypatch.setattr(adapter, "tiny_configs", lambda: [config])
    [path] = adapter.write_tiny_checkpoints(folder)
    return path


def every_module_is_exact(model: Any) -> None:
    """Hold every module of block 1, and outside of the blocks, to a plain hook, one at a time and all in one pass."""
    import torch

    block = f"{model.layout.blocks}.1"
    ids, mask = pad([one.ids for one in model.encode([Document(text, text) for text in TEXTS], 16)])
    seen: dict[str, list[Any]] = {}

    def hook(path: str) -> Any:
        def record(_: Any, args: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            seen.setdefault(path, []).append(first.clone() if isinstance(first, torch.Tensor) else None)

        return record

    paths = [f"{block}.{name}" for name, _ in model.module.get_submodule(block).named_modules() if name]
    paths += [name for name, _ in model.module.named_modules() if "." in name and model.layout.blocks not in name]
    hooks = [model.module.get_submodule(path).register_forward_hook(hook(path)) for path in paths]
    with torch.inference_mode():
        model.module(input_ids=ids, attention_mask=mask)
    for one in hooks:
        one.remove()
    readable: dict[Site, Any] = {}
    for path in paths:
        site, found = parse_site(path, model.n_layers), seen.get(path, [])
        if len(found) == 1 and found[0] is not None and found[0].shape == (*ids.shape, model.d_model):
            readable[site] = found[0]
            [value] = model.activations(ids, mask, [site])
            assert torch.equal(value, found[0]), path
        else:
            with pytest.raises(UsageError, match=r"times in one pass|returns"):
                model.activations(ids, mask, [site])
    assert len(readable) >= 5
    assert sum(site.layer == -1 for site in readable) >= 2, "the embedding and the final norm"
    points = [Site(layer, point) for layer in (0, 1) for point in model.layout.points]
    alone: Sequence[Any] = model.activations(ids, mask, points)
    together = model.activations(ids, mask, [*readable, *points])
    for value, expected in zip(together, [*readable.values(), *alone], strict=True):
        assert torch.equal(value, expected)


def test_modules_of_every_family(registry: Registry, tiny_models: Mapping[str, list[Path]]) -> None:
    for name, adapter in registry.models.items():
        if isinstance(adapter, TransformersAdapter):
            for path in tiny_models[name]:
                every_module_is_exact(adapter.load(Weights(str(path)), CPU))


@pytest.mark.parametrize("name", OTHERS)
def test_modules_where_a_part_is_not_what_is_added(
    name: str, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(name, registry, tmp_path, monkeypatch)
    every_module_is_exact(registry.models["huggingface"].load(Weights(str(path)), CPU))


def test_an_mlp_before_a_norm_is_not_what_the_block_adds(
    registry: Registry, tiny_models: Mapping[str, list[Path]]
) -> None:
    model = registry.models["gemma2"].load(Weights(str(tiny_models["gemma2"][0])), CPU)
    ids, mask = pad([one.ids for one in model.encode([Document(text, text) for text in TEXTS], 16)])
    sites = [Site(2, "mlp_out"), parse_site("model.layers.2.mlp", 3)]
    added, mlp = model.activations(ids, mask, sites)
    assert float((added - mlp).norm() / added.norm()) > 0.1


def test_an_edit_of_a_module_reaches_what_follows(registry: Registry, tiny_models: Mapping[str, list[Path]]) -> None:
    import torch

    model = registry.models["llama"].load(Weights(str(tiny_models["llama"][0])), CPU)
    ids, mask = pad([one.ids for one in model.encode([Document(text, text) for text in TEXTS], 16)])
    by_point = model.logits(ids, mask, {Site(1, "mlp_out"): lambda value: 2 * value})
    edits = {Site(2): lambda value: value, parse_site("model.layers.1.mlp", 3): lambda value: 2 * value}
    assert torch.equal(model.logits(ids, mask, edits), by_point)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("vision_tower.encoder.layers.1", "has no module vision_tower.encoder.layers.1. Its blocks are model.layers"),
        ("model.nrom", "has no module model.nrom.*Did you mean model.norm"),
        ("model.rotary_emb", "returns"),
        ("lm_head.x", "has no module lm_head.x.*Did you mean lm_head"),
        ("model.layers.1.nowhere", "has no module model.layers.1.nowhere.*self_attn, mlp"),
        ("layers.1.self_attn.k_proj", "returns shape"),
    ],
)
def test_what_is_no_place_is_refused(
    path: str, said: str, registry: Registry, tiny_models: Mapping[str, list[Path]]
) -> None:
    model = registry.models["llama"].load(Weights(str(tiny_models["llama"][0])), CPU)
    ids, mask = pad([one.ids for one in model.encode([Document("a", "a")], 16)])
    with pytest.raises(UsageError, match=said):
        model.activations(ids, mask, [parse_site(path, 3)])


@pytest.mark.parametrize(
    ("family", "path", "said"),
    [
        ("gemma", "model.layers.2.nothing", "no module model.layers.2.nothing.*holds self_attn, mlp"),
        ("gemma", "layers.1.self_attn.k_proj", "returns 16 numbers a token"),
        ("huggingface", "model.layers.2.nothing", "no module model.layers.2.nothing.*holds self_attn, mlp"),
        ("huggingface", "model.embed_token", "no module model.embed_token.*Did you mean model.embed_tokens"),
        ("huggingface", "lm_head.weight", "no module lm_head.weight.*Did you mean lm_head"),
    ],
)
def test_what_is_no_place_is_refused_before_weights_are_read(
    family: str,
    path: str,
    said: str,
    registry: Registry,
    tiny_models: Mapping[str, list[Path]],
    tmp_path: Path,
) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes((tiny_models[family][0] / "config.json").read_bytes())
    adapter, weights = registry.models[family], Weights(str(bare))
    adapter.check_sites(weights, [parse_site(good, 3) for good in ("1", "model.layers.1.mlp", "model.norm")])
    with pytest.raises(UsageError, match=said):
        adapter.check_sites(weights, [parse_site(path, 3)])
