"""Every command that runs models can be rehearsed, with what it alone takes: sites, vectors, a bridge, a contrast."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import save_file

import bridge
from bridge.cli import bridge as commands
from bridge.errors import UsageError
from bridge.plugins import discover
from bridge.readers import ReaderStandIn
from bridge.rehearsable import COMMANDS
from reader_files import write_base
from rehearsal_files import write_configs, write_sae, write_sidecar

FEW = ("--corpus", "english", "--max-documents", "40", "--max-tokens", "48")


@pytest.fixture(autouse=True)
def at_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with configurations of models, a dictionary and a verbalizer; untrained models are refused."""
    monkeypatch.delenv("BRIDGE_ALLOW_UNTRAINED")
    monkeypatch.setattr("bridge.rehearsal.speed.SECONDS", 0.001)
    monkeypatch.chdir(tmp_path)
    write_configs(tmp_path)
    write_sae(tmp_path / "sae", 896, "layers.3")
    write_sidecar(tmp_path / "gemma", 1152, 5)
    save_file({"v": np.ones((2, 896), np.float32)}, tmp_path / "vectors.safetensors")


def rehearsed(*words: str) -> tuple[int, Any]:
    """Rehearse a command; return its exit code and its document."""
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    result = CliRunner().invoke(commands, [*words, "--rehearse", "--quiet", "--json"])
    assert result.stdout, (result, result.exception)
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
    return result.exit_code, json.loads(result.stdout)


PAIR = ("--src", "./my-qwen@3", "--dst", "./my-gemma@5", *FEW)
VIA = ("--src", "./my-qwen@3", "--via", "./my-gemma@5", *FEW)


@pytest.mark.parametrize(
    "words, stage, real",
    [
        (("fit", *PAIR, "--out", "new"), "collect", "my-qwen@3"),
        (("sweep", "--src", "./my-qwen@1,3", "--dst", "./my-gemma@4-5", *FEW), "sweep", "my-qwen@1,3"),
        (("audit", *PAIR, "--dictionary", "sae/layers.3"), "audit", "sae/layers.3"),
        (("explain", *VIA, "--text", "A flower", "--verbalizer", "nla:checkpoint=gemma"), "explain", "nla:"),
        (("explain", *VIA, "--directions", "vectors.safetensors", "--verbalizer", "logit_lens"), "explain", "logit"),
        (("lens", "fit", "--model", "./my-qwen", "--layers", "1,3", *FEW), "", "my-qwen"),
    ],
    ids=lambda words: " ".join(words[:1]) if isinstance(words, tuple) else "",
)
def test_commands_on_models_that_are_not_here(words: tuple[str, ...], stage: str, real: str) -> None:
    code, found = rehearsed(*words)
    assert code == 0 and found["finished"] and found["problems"] == [], found
    assert any(stage in one["name"] and one["done"] == one["total"] for one in found["stages"])
    assert any(real in one["what"] for one in found["stand_ins"])


@pytest.mark.parametrize("name", sorted(discover().reader_formats))
def test_a_reader_of_every_format_has_a_stand_in_that_explains(name: str) -> None:
    reader = f"{name}:checkpoint=hub:somebody/reader"
    asked = ("--ask", "Which topic?") if name == "activation_oracle" else ()
    code, found = rehearsed("explain", *VIA, "--text", "A flower of the field", "--verbalizer", reader, *asked)
    assert code == 0 and found["problems"] == [], found
    assert {"real": name, "stand_in": "random, 96 wide"}.items() <= found["stand_ins"][-1].items(), found
    assert not any("was not rehearsed" in one for one in found["unchecked"])


def test_a_training_is_rehearsed_to_both_halves() -> None:
    pytest.importorskip("peft")
    code, found = rehearsed("verbalizer", "train", "--model", "./my-qwen@3", *FEW, "--dictionary", "sae/layers.3")
    assert code == 0 and found["problems"] == [], found
    steps = {one["name"]: one["total"] for one in found["stages"] if one["unit"] == "steps"}
    assert steps == {"AV": 2, "AR": 2}
    assert "the steps of the training, with their gradients" in found["estimates"]["unknown"]


@pytest.fixture(scope="module")
def rotation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bridge between two bundled models."""
    folder = tmp_path_factory.mktemp("fitted") / "rotation"
    bridge.fit("dyck:seed0@1", "dyck:seed1@1", map="procrustes", max_documents=100, out=folder)
    return folder


def test_tools_are_transferred_through_a_stand_in_of_the_bridge(rotation: Path) -> None:
    width = bridge.load(rotation).fitted.d_src
    save_file({"v": np.ones((2, width), np.float32)}, "narrow.safetensors")
    save_file({"p": np.ones((2, width), np.float32), "p.bias": np.ones(2, np.float32)}, "probes.safetensors")
    write_sae(Path("tiny"), width, "layers.1")
    contrast = [{"text": "( " * (n + 1) + "[ " * (n % 3), "class": "ab"[n % 2]} for n in range(24)]
    Path("contrast.jsonl").write_text("\n".join(json.dumps(one) for one in contrast))
    through = str(rotation)
    for words in (
        ("directions", through, "narrow.safetensors"),
        ("directions", through, "--dictionary", "tiny/layers.1", "--features", "3,4"),
        ("probes", through, "probes.safetensors"),
        ("sae", through, "tiny/layers.1"),
    ):
        code, found = rehearsed("transfer", *words, "--out", "out")
        assert code == 0 and found["finished"], (words, found)
    code, found = rehearsed("transfer", "directions", through, "vectors.safetensors", "--out", "out")
    assert code == 1 and "(2, 896)" in found["problems"][0]["what"]
    code, found = rehearsed(
        "transfer", "directions", through, "--dictionary", "tiny/layers.1", "--features", "99", "--out", "out"
    )
    assert code == 1 and "no feature 99" in found["problems"][0]["what"]
    code, found = rehearsed("steer", through, "contrast.jsonl", "--dose", "1", "--prompt", "( [")
    assert code == 0 and any(one["name"] == "steer" for one in found["stages"]), found
    code, found = rehearsed("steer", through, "lost.jsonl")
    assert code == 1 and "lost.jsonl" in found["problems"][0]["what"]


def test_calls_are_rehearsed_from_python() -> None:
    found = bridge.rehearse_call(
        bridge.fit, "./my-qwen@9", "./my-gemma@5", corpus="english", max_documents=40, max_tokens=48
    )
    assert [one.stage for one in found.problems] == ["source model"] and "5 blocks" in found.problems[0].what
    with pytest.raises(UsageError, match="transfer_sae"):
        bridge.rehearse_call(bridge.load, "folder")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_rehearsed_call_takes_what_the_function_takes(name: str) -> None:
    real, described = (inspect.signature(one).parameters for one in (getattr(bridge, name), COMMANDS[name]))
    open_ended = {one.name for one in described.values() if one.kind is inspect.Parameter.VAR_KEYWORD}
    assert set(described) - open_ended <= set(real)
    missing = set(real) - set(described) - {"options", "progress"}
    assert not missing or open_ended == {"how"}
    assert all(real[one].default == described[one].default for one in set(real) & set(described) - {"score"})


@pytest.mark.parametrize("name", sorted(discover().reader_formats))
def test_a_stand_in_says_what_the_real_reader_says_besides_its_sizes(name: str, tmp_path: Path) -> None:
    fmt, base = discover().reader_formats[name], tmp_path / "base"
    write_base(base, "LlamaForCausalLM")
    fmt.example(tmp_path / "real")
    real = fmt.describe(tmp_path / "real")
    like = ReaderStandIn(base=base, site="2", d_model=32, real=tmp_path / "real")
    fmt.write_stand_in(tmp_path / "stand-in", like)
    found = fmt.describe(tmp_path / "stand-in")
    assert fmt.recognises(tmp_path / "stand-in") and found.sites == ("2",)
    assert (found.injection, found.answer, found.prompt.messages) == (real.injection, real.answer, real.prompt.messages)
    assert (found.weights.adapter is None) == (real.weights.adapter is None)
    assert (found.reconstruction is None) == (real.reconstruction is None)
