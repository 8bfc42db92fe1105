"""Weights in 8 or 4 bits: asked for by name, read whole, and never taken for the full ones."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import bridge
from bridge.collect import CollectSettings, activations_artifact
from bridge.corpus import Corpus, Document
from bridge.errors import ModelError, UsageError
from bridge.models import Placement, Weights
from bridge.models.tiny_tokenizer import tiny_tokenizer
from bridge.plugins import Registry
from bridge.references import Site
from bridge.store import Store

FEW = {"max_documents": 60, "max_tokens": 48, "device": "cpu", "dtype": "float32"}
ERRORS = {"8bit": (1e-4, 0.05), "4bit": (1e-2, 0.3)}
"""Bounds of the relative error of activations after two blocks of a random model."""


@pytest.fixture
def installed() -> None:
    pytest.importorskip("bitsandbytes")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of widths that 4-bit kernels take: multiples of 64."""
    folder = tmp_path_factory.mktemp("llama") / "llama"
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(LlamaConfig(vocab_size=512, bos_token_id=0, **sizes, **heads)).save_pretrained(folder)
    tiny_tokenizer(bos=True).save_pretrained(folder)
    return folder


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_quantised_model_is_nearly_the_full_one(llama: Path, registry: Registry, kind: str, dtype: str) -> None:
    adapter, ids = registry.models["llama"], torch.arange(40).reshape(2, 20)
    rows = []
    for asked in ("none", kind):
        model = adapter.load(Weights(str(llama)), Placement("cpu", dtype, asked))  # type: ignore[arg-type]
        (found,) = model.activations(ids, torch.ones_like(ids), [Site(1)])
        assert found.dtype == getattr(torch, dtype)
        rows.append(found.double())
    error = float((rows[1] - rows[0]).norm() / rows[0].norm())
    low, high = ERRORS[kind]
    assert low < error < high
    kinds = {type(module).__name__ for module in model.module.modules()}
    assert {"8bit": "Linear8bitLt", "4bit": "Linear4bit"}[kind] in kinds


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("kind", ERRORS)
def test_a_quantised_checkpoint_is_read_whole_or_refused(
    llama: Path, tmp_path: Path, registry: Registry, kind: str
) -> None:
    folder = shutil.copytree(llama, tmp_path / "llama", ignore=shutil.ignore_patterns("model*"))
    state = {name: tensor for file in llama.glob("*.safetensors") for name, tensor in load_file(file).items()}
    lost = next(name for name in state if name.endswith("up_proj.weight"))
    del state[lost]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"lacks .*{lost}"):
        registry.models["llama"].load(Weights(str(folder)), Placement("cpu", "float32", kind))  # type: ignore[arg-type]


@pytest.mark.usefixtures("installed")
def test_numbers_of_quantised_weights_never_pass_for_those_of_the_full_ones(llama: Path, tmp_path: Path) -> None:
    pair = {"src": f"{llama}@1", "dst": f"{llama}@2", "map": "procrustes", **FEW}
    full = bridge.run(**pair, out=tmp_path / "full")
    quantised = bridge.run(**pair, quantize="4bit", out=tmp_path / "quantised")
    sides = [run.bridge.provenance["src"] for run in (full, quantised)]
    assert "quantized" not in sides[0]
    assert sides[1]["quantized"].startswith("4bit (NF4, bitsandbytes ")
    assert sides[1]["identity"] == f"{sides[0]['identity']} in 4bit"
    assert any("its numbers are not those of the full weights" in note for note in sides[1]["notes"])
    config = (tmp_path / "quantised" / "config.toml").read_text()
    assert 'quantize = "4bit"' in config
    reports = [bridge.write_report(tmp_path / name).read_text(encoding="utf-8") for name in ("full", "quantised")]
    assert "not the full ones" in reports[1]
    assert "not the full ones" not in reports[0]
    assert full.metrics != quantised.metrics
    written = tomllib.loads(config)
    assert bridge.run(**written, out=tmp_path / "again").metrics == quantised.metrics
    with pytest.raises(ModelError, match="--quantize is another"):
        bridge.run(**{**written, "quantize": "none"}, out=tmp_path / "other")


def test_what_cannot_be_quantised_is_refused_before_anything_is_loaded(
    llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r"--quantize 4bit is not possible for .*The family dyck does not load"):
        bridge.fit(src="dyck:seed0@1", dst="dyck:seed1@1", quantize="4bit", **FEW)
    folder = shutil.copytree(llama, tmp_path / "quantised")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "fp8", "dequantize": True}
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.setattr("bridge.models.resolve.refuse_unreadable", lambda weights: None)
    with pytest.raises(UsageError, match="its weights are quantised already"):
        bridge.fit(src=f"{folder}@1", dst=f"{llama}@1", quantize="8bit", **FEW)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs bitsandbytes, which is not installed.*residual-bridge\[quantize\]"):
        bridge.fit(src=f"{llama}@1", dst=f"{llama}@1", quantize="8bit", **FEW)
    with pytest.raises(UsageError, match="quantize"):
        bridge.fit(src=f"{llama}@1", dst=f"{llama}@1", quantize="3bit", **FEW)


def test_keys_change_with_the_quantisation_and_only_then(tmp_path: Path) -> None:
    corpus = Corpus("few", (Document("a", "a"),))
    paths = [
        activations_artifact(Store(tmp_path), "m", Site(1), corpus, CollectSettings("float32", 9, None, "cpu", *bits))
        for bits in ((), ("",), ("4bit (NF4, bitsandbytes 0.50.2)",), ("4bit (NF4, bitsandbytes 0.60)",))
    ]
    assert "quantized" not in paths[0].recipe
    assert paths[0].path == paths[1].path
    assert len({one.path for one in paths}) == 3
    assert repr(Placement("cpu", "float32")) == repr(Placement("cpu", "float32", "4bit"))
