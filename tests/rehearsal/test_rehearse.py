"""A rehearsal runs the whole experiment on stand-ins, names every mistake, and tells no score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

from bridge.cli import bridge
from bridge.dictionaries import Origin, ReLU, SparseAutoencoder
from bridge.plugins import discover
from bridge.report.rehearsal import print_rehearsal

SMALL = {"max_documents": 40, "max_tokens": 48, "features": 6, "positions": 6, "encoder": "lsa", "dtype": "float32"}


@pytest.fixture(autouse=True)
def held_to_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse untrained models, as outside of tests: a rehearsal itself allows its stand-ins."""
    monkeypatch.delenv("BRIDGE_ALLOW_UNTRAINED")


def experiment(folder: Path, **options: Any) -> Path:
    """Write an experiment file."""
    import tomli_w

    path = folder / "experiment.toml"
    path.write_text(tomli_w.dumps(SMALL | options), encoding="utf-8")
    return path


def write_configs(folder: Path) -> tuple[Path, Path]:
    """Write configurations of a Qwen2 and of a Gemma 3 in its wrapper, real widths in few blocks, without weights."""
    from transformers import Gemma3Config, Qwen2Config, SiglipVisionConfig

    qwen = {"hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2}
    text = {"hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 7, "num_attention_heads": 4}
    paths = folder / "my-qwen", folder / "my-gemma"
    Qwen2Config(**qwen, vocab_size=151936, num_hidden_layers=5, dtype="bfloat16").save_pretrained(paths[0])
    vision = SiglipVisionConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2)
    Gemma3Config(text_config=text | {"num_key_value_heads": 1}, vision_config=vision).save_pretrained(paths[1])
    for path, kind in zip(paths, ("Qwen2ForCausalLM", "Gemma3ForConditionalGeneration"), strict=True):
        said = json.loads((path / "config.json").read_text())
        (path / "config.json").write_text(json.dumps(said | {"architectures": [kind]}))
    return paths


def rehearse(path: Path, *flags: str) -> tuple[Result, Any]:
    """Rehearse a file through the command line; return the result and the JSON document."""
    result = CliRunner().invoke(bridge, ["rehearse", str(path), "--json", "--quiet", *flags])
    assert result.stdout, result
    return result, json.loads(result.stdout)


def write_sae(folder: Path, d_model: int, site: str) -> Path:
    rows = np.random.default_rng(0).normal(size=(40, d_model)).astype(np.float32)
    zeros = np.zeros(40, np.float32), np.zeros(d_model, np.float32)
    sae = SparseAutoencoder(rows.T.copy(), zeros[0], rows, zeros[1], ReLU(), origin=Origin(site=site))
    discover().dictionary_formats["sparsify"].example(folder, sae)
    return folder / site


def write_sidecar(folder: Path, d_model: int, layer: int) -> Path:
    """Write the small file of an AV, without weights."""
    (folder / "av").mkdir(parents=True)
    said = {
        "kind": "nla_model",
        "role": "av",
        "d_model": d_model,
        "extraction": {"injection_scale": 150.0, "layer_index": layer},
        "tokens": {"injection_char": "㈎", "injection_token_id": 9, "injection_left_neighbor_id": 8},
        "prompt_templates": {"av": "<concept>{injection_char}</concept>"},
    }
    (folder / "av" / "nla_meta.yaml").write_text(yaml.safe_dump(said, allow_unicode=True), encoding="utf-8")
    return folder


def test_an_experiment_on_models_that_are_not_here_runs_to_its_report(tmp_path: Path) -> None:
    sae, (qwen, gemma) = write_sae(tmp_path / "sae", 896, "layers.3"), write_configs(tmp_path)
    path = experiment(
        tmp_path,
        src=f"{qwen}@3",
        dst=f"{gemma}@5",
        dictionary=str(sae),
        src_verbalizer="nla:checkpoint=hub:somebody/qwen-av,ar=hub:somebody/qwen-ar",
        dst_verbalizer=f"nla:checkpoint={write_sidecar(tmp_path / 'gemma', 1152, 5)}",
        washout=["contrast", "blend:backgrounds=2", "none"],
    )
    result, found = rehearse(path, "--require", "lift>=0.1", "--flops", "100", "--devices", "2")
    assert result.exit_code == 0 and found["problems"] == [] and found["finished"], found
    stand_ins = {one["what"]: one for one in found["stand_ins"]}
    assert stand_ins[f"{qwen}@3"]["real"] == "Qwen2ForCausalLM, 5 blocks, 896 wide"
    assert stand_ins[f"{gemma}@5"]["real"].startswith("Gemma3ForConditionalGeneration, 7 blocks")
    assert stand_ins[f"{gemma}@5"]["stand_in"] == "random, 7 blocks, 96 wide"
    assert stand_ins[str(sae)]["real"] == "40 x 896"
    stages = {one["name"] for one in found["stages"]}
    assert {"pair tokens", "score", "report"} <= stages and any("explain" in name for name in stages)
    assert all(one["done"] == one["total"] for one in found["stages"])
    unchecked = " ".join(found["unchecked"])
    assert "somebody/qwen-ar are not on this machine: nothing of it was checked" in unchecked
    assert "round_trip" not in unchecked and "sae_transfer" not in unchecked and "loss_recovered" in unchecked
    costs = found["estimates"]
    # Embeddings and head, and five blocks: two square products of 896, two of an eighth, three of 4864, two bytes each.
    blocks = 5 * 896 * (2 * 896 + 2 * 128 + 3 * 4864)
    assert costs["memory_gib"] == pytest.approx((262208 * 1152 + 1.9e8) * 4 / 2 / 2**30, rel=0.3)
    assert costs["fetch_gib"] > (2 * 151936 * 896 + blocks) * 2 / 2**30
    assert costs["from"] == "as given by --flops" and costs["flops_per_second"] == 1e14


def test_every_mistake_is_named_and_hides_no_other(tmp_path: Path) -> None:
    _, gemma = write_configs(tmp_path)
    path = experiment(
        tmp_path,
        src="qwen@41",
        dst=f"{gemma}@5",
        map="rigde",
        dictionary=str(write_sae(tmp_path / "sae", 640, "layers.20")),
        src_verbalizer="logit_lens",
        dst_verbalizer=f"nla:checkpoint={write_sidecar(tmp_path / 'gemma', 1152, 4)}",
        washout=["contrast:strenght=2"],
    )
    result, found = rehearse(path, "--require", "lifft>=0.1")
    told = {one["stage"]: one["what"] for one in found["problems"]}
    assert result.exit_code == 1 and found["finished"], found
    assert "41" in told["source model"] and "28" in told["source model"]
    assert "width 640" in told["dictionary"] and "width 3584" in told["dictionary"]
    assert "site 4" in told["destination verbalizer"] and "of 5" in told["destination verbalizer"]
    assert "There is no map rigde" in told["map"] and "ridge" in told["map"]
    assert "no option strenght" in told["washout"] and "lifft" in told["require"]
    assert len(told) == len(found["problems"]) == 6


def test_what_is_published_of_a_verbalizer_is_held_to_the_model(tmp_path: Path) -> None:
    av = "nla:checkpoint=hub:kitft/nla-{}-av,ar=hub:kitft/nla-{}-ar"
    wrong = {
        "src_verbalizer": av.format(*["gemma3-27b-L41"] * 2),
        "dst_verbalizer": av.format(*["gemma3-27b-L41"] * 2),
    }
    path = experiment(tmp_path, src="qwen@20", dst="gemma@40", map="identity", **wrong)
    # Models of unequal widths: the map stops the run, and what was looked at before is told all the same.
    _, found = rehearse(path)
    told = {one["stage"]: one["what"] for one in found["problems"]}
    assert "reads activations of google/gemma-3-27b-it" in told["source verbalizer"]
    assert "site 41" in told["destination verbalizer"] and "of 40" in told["destination verbalizer"]
    assert not found["finished"] and "equal widths" in " ".join(told.values())


def test_a_model_without_a_configuration_is_told_how_to_get_one(tmp_path: Path) -> None:
    path = experiment(tmp_path, src="somebody/unknown@3", dst="gemma3-270m@12", src_verbalizer="logit_lens")
    result, found = rehearse(path)
    [problem] = [one for one in found["problems"] if one["stage"] == "source model"]
    assert "hf download somebody/unknown config.json" in problem["what"]
    assert result.exit_code == 1 and not found["finished"] and found["stages"] == []


def test_small_models_play_themselves_and_nothing_is_left(
    isolated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--map", "procrustes"]
    result = CliRunner().invoke(bridge, ["run", *flags, "--max-documents", "200", "--rehearse", "--quiet"])
    assert result.exit_code == 0, result.output
    assert "every number that it computed is meaningless" in result.output and "itself" in result.output
    # No score is printed: neither as a table nor in words.
    assert not {"mispaired", "explained variance", "retrieval@1", "cosine 0"} & set(result.output.split())
    assert "EV" not in result.output
    assert list(tmp_path.iterdir()) == [] and not (isolated / "cache" / "activations").exists()


def test_a_failure_on_the_way_is_placed_in_its_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bridge.maps.affine import AffineMap

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no rank")

    monkeypatch.setattr(AffineMap, "__call__", broken)
    path = experiment(tmp_path, src="dyck:seed0@1", dst="dyck:seed1@1", max_documents=200, positions=0)
    _, found = rehearse(path)
    told = {one["stage"]: one["what"] for one in found["problems"]}
    assert "--features 6" in told.pop("options") and "--encoder lsa" in found["problems"][0]["what"]
    assert told and all("no rank" in what for what in told.values()), told
    print_rehearsal(found)
    assert "Would fail (" in capsys.readouterr().out
