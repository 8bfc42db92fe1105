"""Careless and hostile plugins beyond those of test_third_party: contained, named, and no harm to JSON on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.plugins import checks, isolation
from bridge.scorers import Need
from dictionary_files import saelens
from small_plugins import A_SCORER, Package, a_map, bridge, ours_are_whole, plugins


def found(distribution: str) -> dict[str, Any]:
    (plugin,) = [plugin for plugin in plugins() if plugin["distribution"] == distribution]
    return plugin


def said(text: str) -> str:
    """Return an error message as one line."""
    return " ".join(text.partition("Error:")[2].split())


# The plugin API


@pytest.mark.parametrize("declared", ["", '"1.0"', '"1.2"', '"1.4"'])
def test_plugins_of_this_and_earlier_minor_versions_are_taken(
    declared: str, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "API", (1, 4))
    package("of-now", a_map("of_now") + (f"\nbridge_api = {declared}\n" if declared else ""))
    assert found("of-now")["health"] == "ok"


@pytest.mark.parametrize(
    ("declared", "reason", "remedy"),
    [
        ('"1.5"', "this residual-bridge has 1.4", "pip install --upgrade residual-bridge"),
        ('"2.0"', "this residual-bridge has 1.4", "pip install --upgrade residual-bridge"),
        ('"0.9"', "no longer has", "pip install --upgrade of-another"),
        ("1.0", "declares bridge_api = 1.0", '"1.4"'),
        ('"latest"', "declares bridge_api = 'latest'", '"1.4"'),
    ],
)
def test_plugins_of_another_api_are_refused_with_what_to_upgrade(
    declared: str, reason: str, remedy: str, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "API", (1, 4))
    package("of-another", a_map("of_another") + f"\nbridge_api = {declared}\n")
    plugin = found("of-another")
    assert plugin["health"] == "broken"
    assert reason in plugin["error"]
    assert remedy in plugin["remedy"]
    assert ours_are_whole(plugins())


def test_plugin_that_imports_what_this_version_lacks_is_told_so(package: Package) -> None:
    package("ahead", "from bridge.maps import TeleportingMap")
    assert "TeleportingMap" in found("ahead")["error"]
    assert "another residual-bridge" in found("ahead")["remedy"]


# Import and registration


def test_plugin_that_hangs_on_import_is_named_while_it_does(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "PATIENCE", 0.1)
    package("sleepy", "import time\ntime.sleep(1)\n" + a_map("sleepy"))
    code, out, err = bridge("plugins", "--json")
    assert code == 0
    assert "Still importing the plugin maps.sleepy of sleepy" in err
    assert "BRIDGE_DISABLE_PLUGINS=sleepy:maps.sleepy" in err
    assert err.count("Still importing") == 1
    assert "sleepy" in {plugin["name"] for plugin in json.loads(out)["plugins"]}
    monkeypatch.setenv("BRIDGE_DISABLE_PLUGINS", "sleepy:maps.sleepy")
    _, out, err = bridge("plugins", "--json")
    assert err == ""
    assert "sleepy" not in out


@pytest.mark.parametrize("needs", ["", "needs = [Need.MAP]", 'needs = frozenset({"map"})'])
def test_scorer_whose_needs_cannot_be_compared_stops_no_other(needs: str, package: Package) -> None:
    assert Need.MAP == "map"
    code = A_SCORER.replace("needs = frozenset({Need.MAP})", needs)
    package("needy", code, "scorers.needy")
    assert "whose needs are" in found("needy")["error"]
    assert ours_are_whole(plugins())


A_FAMILY_AND_A_FORMAT = '''
"""They stumble over what belongs to others."""
from bridge.dictionaries import DictionaryFormat
from bridge.hookspecs import hookimpl
from bridge.models import ModelAdapter


class Family(ModelAdapter):
    name = "stumbles"
    def claims(self, weights):
        return weights.config["only_mine_have_this"] == 1
    def describe(self, weights): ...
    def tokenizer(self, weights): ...
    def load(self, weights, placement): ...
    def write_tiny_checkpoints(self, folder): ...


class Format(DictionaryFormat):
    name, summary = "stumbles", "For this test."
    def recognises(self, path):
        return (path / "only_mine_have_this").read_text() == "1"
    def load(self, path): ...


@hookimpl
def register_models(register):
    register(Family())


@hookimpl
def register_dictionary_formats(register):
    register(Format())
'''


def test_families_and_formats_that_stumble_leave_others_theirs(
    package: Package, experiment: list[str], tmp_path: Path
) -> None:
    package("stumbling", A_FAMILY_AND_A_FORMAT, "models.stumbles")
    assert found_all("stumbling") == {("models", "stumbles"), ("dictionary_formats", "stumbles")}
    code, _, err = bridge("fit", *experiment, "--out", tmp_path / "out")
    assert code == 0, err
    rows = tmp_path / "rows.safetensors"
    arguments = ("transfer", "directions", tmp_path / "out", "--dictionary", saelens(tmp_path / "sae"))
    _, _, err = bridge(*arguments, "--features", "1", "--out", rows)
    assert "has width 6" in " ".join(err.split()), "it was read, and is of another width"
    (tmp_path / "nobody").mkdir()
    (tmp_path / "nobody" / "config.json").write_text("{}")
    _, _, err = bridge("fit", "--src", f"{tmp_path / 'nobody'}@1", "--dst", f"{tmp_path / 'nobody'}@0", "--out", "x")
    assert "family stumbles failed on it: KeyError('only_mine_have_this')" in " ".join(err.split())


def found_all(distribution: str) -> set[tuple[str, str]]:
    return {(one["kind"], one["name"]) for one in plugins() if one["distribution"] == distribution}


# Standard output

CHATTERS = """
import os, subprocess
print("printed")
os.write(1, b"written")
subprocess.run(["echo", "started"])
"""


def test_json_is_whole_whatever_plugins_print_while_they_work(
    package: Package, experiment: list[str], tmp_path: Path
) -> None:
    package("chats", a_map("chats", 'print("fitting"); return super().fit(data)'))
    scorer = A_SCORER.replace("for arm in", 'print("scoring")\n        for arm in')
    package("chats-too", scorer, "scorers.chats_too")
    code, out, err = bridge("run", *experiment, "--map", "chats", "--json", "--out", tmp_path / "out")
    assert code == 0, err
    assert json.loads(out)["metrics"]
    assert "fitting" in err
    assert "scoring" in err


def test_json_is_whole_whatever_descriptor_a_plugin_writes_to(
    package: Package, experiment: list[str], tmp_path: Path
) -> None:
    body = "; ".join([*CHATTERS.strip().splitlines(), "return super().fit(data)"])
    package("shouts", a_map("shouts", body))
    command = [Path(sys.executable).with_name("bridge"), "fit", *experiment, "--map", "shouts", "--json"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site-packages")}
    done = subprocess.run(
        [*map(str, command), "--out", str(tmp_path / "out")], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["map"] == "shouts"
    for word in ("printed", "written", "started"):
        assert word in done.stderr


# What they return

WRAPPED = """
        fitted = super().fit(data)
        class Wrong(FittedMap):
            d_src, d_dst = fitted.d_src, fitted.d_dst
            def __call__(self, x):
                moved = fitted(x)
                RETURN
            def direction(self, v):
                return fitted.direction(v)
            def arrays(self):
                return fitted.arrays()
        return Wrong()
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (WRAPPED.replace("RETURN", "return moved.astype(np.float16)"), "gives dtype float16 for points"),
        (WRAPPED.replace("RETURN", "return moved.astype(object)"), "gives dtype object for points"),
        (WRAPPED.replace("RETURN", "return moved.tolist()"), "gives list for points"),
        (WRAPPED.replace("RETURN", "import torch; return torch.tensor(moved)"), "gives Tensor on cpu for points"),
        (WRAPPED.replace("RETURN", "raise KeyError('lost')"), "gives KeyError ('lost') for points"),
        (
            WRAPPED.replace("RETURN", "return np.where(x[:, :1] == data.moments.mean_x[0].astype('f'), moved, np.nan)"),
            "gives NaN or infinite values for points",
        ),
    ],
)
def test_map_that_returns_nonsense(
    body: str, message: str, package: Package, experiment: list[str], tmp_path: Path
) -> None:
    package("nonsense", a_map("nonsense", body))
    code, out, err = bridge("run", *experiment, "--map", "nonsense", "--json", "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert said(err).startswith("The map nonsense ")
    assert message in said(err)
    assert not (tmp_path / "out").exists()


def test_scorers_that_leave_or_return_nonsense_are_left_out(
    package: Package, experiment: list[str], tmp_path: Path
) -> None:
    code = (
        A_SCORER.partition("@hookimpl")[0]
        + """
import dataclasses, sys


class Odd(Mine):
    def score(self, evidence):
        for metric in super().score(evidence):
            yield dataclasses.replace(metric, note=b"bytes")


@hookimpl
def register_scorers(register):
    register(Mine("leaves", lambda: sys.exit(0)))
    register(Odd("odd", lambda: 0.5))
"""
    )
    package("odd-scorers", code, "scorers.odd")
    code_, out, err = bridge("run", *experiment, "--json", "--out", tmp_path / "out")
    assert code_ == 0, err
    assert {metric["scorer"] for metric in json.loads(out)["metrics"]}.isdisjoint({"leaves", "odd"})
    left_out = (
        "The scorer leaves failed; its scores are missing: The plugin odd-scorers:scorers.odd raised SystemExit: 0"
    )
    assert left_out in err
    assert "The scorer odd failed; its scores are missing: it returned a metric whose note is not a text" in err


A_VERBALIZER = '''
"""A verbalizer."""
from dataclasses import dataclass
import numpy as np
from bridge.hookspecs import hookimpl
from bridge.verbalizers import Explanation, Verbalizer, VerbalizerBackend


class Says(Verbalizer):
    def __init__(self, d_model):
        self.d_model = d_model

    reconstructs = REBUILDS

    def explain(self, vectors):
        RETURN

    def reconstruct(self, texts):
        return np.full((len(texts), self.d_model), np.nan, np.float32)


@dataclass(frozen=True)
class Odd(VerbalizerBackend):
    name, summary = "odd", "For this test."

    def open(self, subject):
        return Says(subject.d_model)


@hookimpl
def register_verbalizers(register):
    register(Odd)
'''


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ("return ['text' for _ in vectors]", "The verbalizer odd returned a list with ['text']"),
        ("return None", "The verbalizer odd returned NoneType"),
        ("return [Explanation('one')]", "The verbalizer odd returned 1 explanations for"),
        ("return [Explanation(b'bytes') for _ in vectors]", "whose text or flags are not texts"),
        (
            "return 1 / 0",
            "ZeroDivisionError: division by zero. The plugin odd-words:verbalizers.odd raised this error",
        ),
        ("return [Explanation('same') for _ in vectors]", "The reconstructor of the verbalizer odd gives NaN"),
    ],
)
def test_verbalizer_that_returns_nonsense_is_named(
    returned: str, message: str, package: Package, tiny_models: Mapping[str, list[Path]], corpus_file: Path
) -> None:
    code = A_VERBALIZER.replace("RETURN", returned).replace("REBUILDS", str("same" in returned))
    package("odd-words", code, "verbalizers.odd")
    model = f"{tiny_models['gpt2'][0]}@1"
    arguments = ["--src", model, "--via", model, "--verbalizer", "odd", "--text", "Paris is in France", "--every", "3"]
    corpus = ["--corpus", str(corpus_file), "--max-documents", "50", "--max-tokens", "32", "--dtype", "float32"]
    exit_code, out, err = bridge("explain", *arguments, *corpus, "--json")
    assert (exit_code, out) == (1, "")
    assert message in said(err)
    assert "Traceback" not in err
