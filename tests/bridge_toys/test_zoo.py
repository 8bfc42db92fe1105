"""The bundled zoo: real classes, everything on board, and the run that a newcomer sees first."""

from __future__ import annotations

import json
import socket
import sys
import zlib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import bridge_toys.zoo
from bridge.cli import bridge as command
from bridge.errors import UsageError

ZOO = Path(bridge_toys.zoo.__file__).parent
MODELS = ("tiny-qwen", "tiny-gemma", "tiny-pythia-seed1", "tiny-pythia-seed2", "tiny-pythia-seed3")
Found = Mapping[tuple[str, str], Mapping[str, Any]]


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments])


def metrics(result: Result) -> Found:
    assert result.exit_code == 0, result.output
    return {(one["name"], one["arm"]): one for one in json.loads(result.stdout)["metrics"]}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no connection leave this process."""

    def refused(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refused)


def test_what_a_newcomer_sees_first(tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """`bridge run` with nothing but a folder: every stage, held to what the corpus knows to be true."""
    out = tmp_path / "run"
    found = metrics(call("run", "--out", str(out), "--json", "--quiet"))
    value = {key: one["value"] for key, one in found.items()}
    assert value["topic_named", "native"] >= 0.9
    assert value["topic_named", "mapped"] >= 0.55
    for control in ("mispaired", "random_map"):
        assert value["topic_named", control] <= 0.15
    assert found["specific_lift", "mapped"]["low"] > max(0.05, found["specific_lift", "mispaired"]["high"])
    assert found["feature_topic_named", "mapped"]["low"] > found["feature_topic_named", "random_map"]["high"]
    assert found["ev", "mapped"]["low"] > found["ev", "mispaired"]["high"]
    assert found["sae_ev", "mapped"]["low"] > found["sae_ev", "mispaired"]["high"]
    assert (out / "report.html").stat().st_size < 6e6
    # The same options again, from another folder, with nothing left of what was collected, fitted and said.
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path / "empty"))
    again = metrics(call("run", str(out / "config.toml"), "--out", str(tmp_path / "again"), "--json", "--quiet"))
    assert again == found


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_seeds_of_one_recipe_have_bases_of_their_own(dtype: str, tmp_path: Path) -> None:
    """Raw, one seed's rows and dictionary say nothing of another's; rotated they do. Both dtypes say the same."""
    pair = ("--src", "tiny-pythia:seed1", "--dst", "tiny-pythia:seed2", "--map", "procrustes", "--dtype", dtype)
    found = metrics(call("run", *pair, "--out", str(tmp_path / "run"), "--json", "--quiet"))
    assert found["ev", "raw"]["high"] < 0 < 0.45 < found["ev", "mapped"]["low"]
    assert found["retrieval@1", "raw"]["high"] < 0.01 < 0.3 < found["retrieval@1", "mapped"]["low"]
    for control in ("raw", "mispaired", "random_map"):
        assert found["sae_ev", control]["high"] < 0.1 < 0.4 < found["sae_ev", "mapped"]["low"]
    for name, arm, documented in (
        ("ev", "mapped", 0.518),
        ("sae_ev", "mapped", 0.457),
        ("sae_ev", "raw", -0.132),
    ):
        assert found[name, arm]["value"] == pytest.approx(documented, abs=0.01)
    assert found["rotation_haar_p", "mapped"]["low"] > 0.05 > found["rotation_haar_p", "raw"]["high"]


def test_a_bundled_model_is_read_by_anothers_verbalizer(offline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "The farmer stood at the barn when Tom came. The farmer milked the cow."

    def explain(*flags: str) -> Result:
        asked = ("--src", "tiny-qwen", "--via", "tiny-gemma", "--text", text, "--every", "4", "--json", "--quiet")
        return call("explain", *asked, *flags)

    result = json.loads(explain().stdout)
    assert result["fve"] is not None and len(result["readings"]) > 2
    assert any("farm" in one["explanation"] for one in result["readings"])

    def never(*_: object) -> None:
        raise AssertionError("the verbalizer was asked")

    # What was said once is not asked again, and what was not said is not made up.
    monkeypatch.setattr("bridge.readers.decoding.Speaker.say", never)
    monkeypatch.setattr("bridge.readers.reconstructor.Reconstructor.reconstruct", never)
    assert json.loads(explain().stdout)["readings"] == result["readings"]
    for other in (("--every", "5"), ("--verbalizer", "own:max_new_tokens=9")):
        assert "the verbalizer was asked" in str(explain(*other).exception)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_whole(name: str) -> None:
    """Small, without anything that unpickles, and with the log of its training."""
    folder = ZOO / "checkpoints" / name
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"][0] in ("Qwen2ForCausalLM", "Gemma3ForCausalLM", "GPTNeoXForCausalLM")
    log = json.loads((folder / "training.json").read_text())
    assert log["log"][-1]["loss"] < log["log"][0]["loss"] and log["held_out_loss_nats"] < 1.2
    assert not [path for path in folder.rglob("*") if path.suffix in (".pt", ".bin", ".pkl", ".py")]
    assert not list(folder.rglob(".*"))


def test_the_zoo_is_small_and_its_stories_are_the_generators(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [path for path in ZOO.rglob("*") if path.is_file() and path.parent.name != "__pycache__"]
    assert sum(len(zlib.compress(path.read_bytes())) for path in files) < 12e6, "what a wheel weighs"
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "tools"))
    monkeypatch.delitem(sys.modules, "zoo_stories", raising=False)
    import zoo_stories

    told = [{"text": story.text, "topic": story.topic} for story in zoo_stories.shipped()]
    assert told == [json.loads(line) for line in (ZOO / "stories.jsonl").read_text().splitlines()]
    trained = zoo_stories.stories(zoo_stories.TRAINING, 0)
    assert not {story["text"] for story in told} & {next(trained).text for _ in range(40_000)}


def test_the_demo_is_an_ordinary_experiment(tmp_path: Path) -> None:
    demo = resources.files("bridge").joinpath("data/demo.toml")
    assert "tiny-qwen" in demo.read_text()
    one = call("run", "--dry-run", "--json")
    assert one.exit_code == 0 and not json.loads(one.stdout)["problems"]
    assert json.loads(one.stdout)["corpus"]["documents"] == 1200
    half = call("run", "--src", "tiny-qwen")
    assert isinstance(half.exception, UsageError) and "Two models are needed" in str(half.exception)
