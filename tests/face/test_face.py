"""Python's calls beside the command line's: the same names and defaults, and nothing loaded before it is asked for."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import bridge
import bridge_toys.dyck
from bridge.cli import bridge as command_line
from bridge.errors import ShapeError, UsageError
from bridge.maps import AffineMap
from bridge.pipeline.plan.options import declared
from sealed_files import unsealed

TOYS = Path(bridge_toys.dyck.__file__).parent
SAE = TOYS / "checkpoints" / "seed0" / "dictionaries" / "1" / "relu"
CONTRAST = TOYS / "contrasts" / "round-square.jsonl"

CALLS: dict[tuple[str, ...], Callable[..., Any]] = {
    ("run",): bridge.run,
    ("rehearse",): bridge.rehearse,
    ("fit",): bridge.fit,
    ("sweep",): bridge.sweep,
    ("audit",): bridge.audit,
    ("steer",): bridge.steer,
    ("explain",): bridge.explain,
    ("report",): bridge.write_report,
    ("transfer", "directions"): bridge.transfer_directions,
    ("transfer", "probes"): bridge.transfer_probes,
    ("transfer", "sae"): bridge.transfer_sae,
    ("verbalizer", "train"): bridge.train_verbalizer,
}
OF_THE_TERMINAL = {"as_json", "quiet", "debug", "help", "file", "dry_run", "rehearsed", "part", "require"}
"""`file` is `**tomllib.load(...)`; `dry_run` and `rehearse` are calls of their own; `part` is for job arrays; `require`
is an exit code."""

CALLED = {"bridge_folder": "bridge", "text": "texts"}


@pytest.mark.parametrize("path", CALLS)
def test_what_a_command_takes_its_call_takes(path: tuple[str, ...]) -> None:
    command: Any = command_line
    for name in path:
        command = command.get_command(click.Context(command), name)
    given = inspect.signature(CALLS[path]).parameters
    options = declared()
    for one in command.get_params(click.Context(command)):
        name = CALLED.get(one.name, one.name)
        if name in OF_THE_TERMINAL or name.startswith("_"):
            continue
        known = name in given or ("options" in given and name in options)
        assert known, f"{path} takes {name}, and its call does not"
        if name in given and isinstance(one.default, str | int | float | tuple):
            assert given[name].default == one.default, name


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys, bridge; dir(bridge); bridge.fit, bridge.steer, bridge.transfer_sae; "
        "print({'torch', 'numpy', 'pydantic', 'click'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
    assert set(bridge.__all__) <= set(dir(bridge))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        bridge.fitt  # noqa: B018


@pytest.fixture(scope="module")
def rotation() -> bridge.Bridge:
    rng = np.random.default_rng(0)
    fitted = AffineMap(np.linalg.qr(rng.normal(size=(64, 64)))[0], rng.normal(size=64), rng.normal(size=64))
    side = {"site": "1", "n_layers": 2}
    return bridge.Bridge("dyck:seed0@1", "dyck:seed1@1", "procrustes", {}, fitted, {"src": side, "dst": side})


def test_a_bridge_runs_no_model_but_calls_what_it_is_given(rotation: bridge.Bridge) -> None:
    with pytest.raises(UsageError, match=r"put together by hand.*explain_through"):
        rotation.explain(["(("])
    asked: list[Any] = []
    nothing = bridge.Readings([], None, None, {})

    def explainer(through: bridge.Bridge, texts: Any, **how: Any) -> bridge.Readings:
        asked.append((through, texts, how))
        return nothing

    told = replace(rotation, explainer=explainer)
    assert told.explain(["(("], every=2) is nothing
    assert asked == [(told, ["(("], {"every": 2, "verbalizer": ""})] and isinstance(told, bridge.Bridge)


def test_directions_from_arrays_files_and_dictionaries(rotation: bridge.Bridge, tmp_path: Path) -> None:
    rows = np.random.default_rng(1).normal(size=(3, 64))
    save_file({"v": rows}, tmp_path / "v.safetensors")
    rotation.save(tmp_path / "bridge")
    moved = bridge.transfer_directions(rotation, {"v": rows}, out=tmp_path / "out.safetensors")
    np.testing.assert_array_equal(moved.arrays["v"], rotation.direction(rows))
    np.testing.assert_array_equal(load_file(tmp_path / "out.safetensors")["v"], moved.arrays["v"].astype(np.float32))
    by_file = bridge.transfer_directions(str(tmp_path / "bridge"), tmp_path / "v.safetensors")
    np.testing.assert_array_equal(by_file.arrays["v"], moved.arrays["v"])
    assert moved.gains["v"] == pytest.approx(1) and moved.document()["v"]["shape"] == [3, 64]
    for features in ("3,5-6", [3, 5, 6], np.array([3, 5, 6])):
        chosen = bridge.transfer_directions(rotation, dictionary=str(SAE), features=features)
        assert chosen.arrays["directions"].shape == (3, 64)
    with pytest.raises(UsageError, match="either VECTORS"):
        bridge.transfer_directions(rotation)
    with pytest.raises(UsageError, match="already exists"):
        bridge.transfer_directions(rotation, {"v": rows}, out=tmp_path / "out.safetensors")
    with pytest.raises(ShapeError, match="v: A list has no shape"):
        bridge.transfer_directions(rotation, {"v": [1.0]})


def test_probes_and_dictionaries(rotation: bridge.Bridge, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    weights, bias = rng.normal(size=(2, 64)), rng.normal(size=2)
    carried = bridge.transfer_probes(rotation, {"p": weights, "p.bias": bias}).arrays
    x = rng.normal(size=(5, 64))
    np.testing.assert_allclose(rotation(x) @ carried["p"].T + carried["p.bias"], x @ weights.T + bias, atol=1e-9)
    sae = bridge.transfer_sae(rotation, SAE, tmp_path / "sae")
    assert sae.dictionary.origin.model == "dyck:seed1" and (tmp_path / "sae").is_dir()
    assert not sae.held_out and "not scored" in repr(sae), "this bridge does not say what it was fitted on"


def test_audit_steer_explain_and_report(tmp_path: Path) -> None:
    small: dict[str, Any] = {"max_documents": 200, "device": "cpu"}
    b = bridge.fit("dyck:seed0@1", "dyck:seed1@1", map="procrustes", out=tmp_path / "b", **small)
    assert bridge.load(tmp_path / "b").src == b.src
    audited = bridge.audit("dyck:seed0@1", "dyck:seed1@1", out=tmp_path / "audit.json", **small)
    assert unsealed(tmp_path / "audit.json") == json.loads(json.dumps(audited.document()))
    assert {metric.map for metric in audited.metrics} == {"procrustes"}
    steered = bridge.steer(b, CONTRAST, doses=[1], prompts=["(["], new_tokens=2, out=tmp_path / "steer.json")
    assert {metric.name for metric in steered.metrics} == {"log_odds_shift@1", "kl@1", "transfer_ratio@1"}
    swept = bridge.sweep("dyck:seed0@0-1", "dyck:seed1@1", out=tmp_path / "sweep", **small)
    assert {path.name for path in (tmp_path / "sweep").iterdir()} >= {"metrics.json", "sweep.png", "report.html"}
    with pytest.raises(UsageError, match="no metric nothing"):
        swept.best("nothing")
    v = torch.randn(2, 64, dtype=torch.bfloat16)
    readings = bridge.explain_through(b, directions={"v": v}, verbalizer="logit_lens", out=tmp_path / "read.json")
    assert [one.text for one in readings.readings] == ["v[0]", "v[1]"]
    again = bridge.explain(b.src, b.dst, directions={"v": v}, dst_verbalizer="logit_lens", map="procrustes", **small)
    assert again.readings == readings.readings
    (loaded, texts) = bridge.load(tmp_path / "b"), ["(["]
    assert loaded.explain(texts, verbalizer="logit_lens") == bridge.explain_through(b, texts, verbalizer="logit_lens")
    with pytest.raises(UsageError, match="An inverse explains nothing"):
        b.inverse().explain(texts)
    with pytest.raises(UsageError, match="either texts"):
        bridge.explain_through(b)
    with pytest.raises(UsageError, match="a list of strings"):
        bridge.explain_through(b, "((")  # type: ignore[arg-type]
    page = bridge.write_report([tmp_path / "audit.json", tmp_path / "steer.json"], out=tmp_path / "page.html")
    assert "Do steering vectors transfer?" in page.read_text()
    with pytest.raises(UsageError, match="already exists"):
        bridge.audit("dyck:seed0@1", "dyck:seed1@1", out=tmp_path / "audit.json")


def test_dry_run_and_doctor() -> None:
    found = bridge.dry_run("dyck:seed0@1", "dyck:seed1@1")
    assert not found["problems"] and set(found["models"]) == {"src", "dst"}
    assert bridge.dry_run("gone@1", "dyck:seed1@1")["problems"]
    assert {check.name for check in bridge.doctor()} >= {"python", "cache", "plugins"}
