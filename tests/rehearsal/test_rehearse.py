"""A rehearsal runs the whole experiment on stand-ins, names every mistake, and tells no score."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from bridge.cli import bridge
from bridge.report.rehearsal import print_rehearsal
from rehearsal_files import write_configs, write_sae, write_sidecar

SMALL = {"max_documents": 40, "max_tokens": 48, "features": 6, "positions": 6, "encoder": "lsa", "dtype": "float32"}


@pytest.fixture(autouse=True)
def held_to_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse untrained models, as outside of tests: a rehearsal itself allows its stand-ins. No test needs a speed."""
    monkeypatch.delenv("BRIDGE_ALLOW_UNTRAINED")
    monkeypatch.setattr("bridge.rehearsal.speed.SECONDS", 0.001)


def experiment(folder: Path, **options: Any) -> Path:
    """Write an experiment file."""
    import tomli_w

    path = folder / "experiment.toml"
    path.write_text(tomli_w.dumps(SMALL | options), encoding="utf-8")
    return path


def rehearse(path: Path, *flags: str) -> tuple[Result, Any]:
    """Rehearse a file through the command line; return the result and the JSON document."""
    result = CliRunner().invoke(bridge, ["rehearse", str(path), "--json", "--quiet", *flags])
    assert result.stdout, result
    return result, json.loads(result.stdout)


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
    assert costs["weights_gib"] == pytest.approx((262208 * 1152 + 1.9e8) * 4 / 2 / 2**30, rel=0.3)
    # The self-check's logits: 3.4 copies of 256 rows of the vocabulary, 4 bytes each.
    assert costs["memory_gib"] == pytest.approx(costs["weights_gib"] + 3.4 * 256 * 262208 * 4 / 2**30, abs=0.11)
    assert costs["fetch_gib"] > (2 * 151936 * 896 + blocks) * 2 / 2**30
    # Four of five blocks, and no product with the embeddings.
    qwen = costs["tokens_per_second"][f"{qwen}@3"]
    assert qwen == pytest.approx(1e14 / (2 * blocks * 4 / 5), rel=0.01)
    assert costs["from"] == "as given by --flops" and costs["flops_per_second"] == 1e14
    assert "reading the weights for each token (--bandwidth)" in costs["unknown"]


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
    # Each step of writing reads all weights: 540 MB at 1 GB/s.
    costs = [rehearse(path, "--flops", "100", "--bandwidth", speed)[1]["estimates"] for speed in ("1", "100000")]
    assert costs[0]["explain_hours"] > 10 * costs[1]["explain_hours"] and costs[0]["bytes_per_second"] == 1e9
    assert costs[0]["collect_hours"] == costs[1]["collect_hours"]


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


def test_a_dictionary_that_is_missing_is_a_mistake_and_one_on_the_hub_is_not_tried(tmp_path: Path) -> None:
    two = {"src": "dyck:seed0@1", "dst": "dyck:seed1@1", "corpus": "english"}
    two |= {"src_verbalizer": "logit_lens", "dst_verbalizer": "logit_lens"}
    _, found = rehearse(experiment(tmp_path, **two, dictionary=str(tmp_path / "lost")))
    assert [one["stage"] for one in found["problems"]] == ["dictionary"] and found["finished"]
    assert "There is no dictionary" in found["problems"][0]["what"]
    _, found = rehearse(experiment(tmp_path, **two, dictionary="hub:somebody/sae/layers.1"))
    assert found["problems"] == [] and "hub:somebody/sae/layers.1 is not on this machine" in " ".join(
        found["unchecked"]
    )
