"""The way back, fitted and kept with every bridge, and what is carried through it, scored on held-out rows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import bridge_toys.zoo
from bridge import load
from bridge.errors import BridgeError, MapError, UsageError
from bridge.maps import AffineMap
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.jobs.held_out import open_held_out
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.transfer.dictionaries import open_dictionary
from sealed_files import bind
from small_plugins import bridge

SAE = Path(bridge_toys.zoo.__file__).parent / "checkpoints" / "tiny-gemma" / "dictionaries" / "2" / "topk"
PAIR = ("--src", "tiny-gemma", "--dst", "tiny-qwen", "--map", "ridge", "--max-documents", 120, "--quiet")


@pytest.fixture(autouse=True)
def kept(warm_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(warm_cache))


@pytest.fixture(scope="module")
def ridge(tmp_path_factory: pytest.TempPathFactory, warm_cache: Path) -> Path:
    out = tmp_path_factory.mktemp("ridge") / "bridge"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRIDGE_CACHE_DIR", str(warm_cache))
        patch.setenv("BRIDGE_DTYPE", "float32")
        assert bridge("fit", *PAIR, "--out", out)[0] == 0
    return out


@pytest.fixture
def older(ridge: Path, tmp_path: Path) -> Path:
    """The folder of a bridge that has no reverse map."""
    folder = shutil.copytree(ridge, tmp_path / "older")
    arrays = {name: array for name, array in load_file(folder / "bridge.safetensors").items() if "/" not in name}
    assert set(arrays) == {"weight", "mean_src", "mean_dst"}
    save_file(arrays, folder / "bridge.safetensors")
    return bind(folder, lambda record: {name: value for name, value in record.items() if name != "way_back"})


def test_a_dictionary_through_ridge_scores_what_the_audit_says(ridge: Path, tmp_path: Path) -> None:
    code, out, _ = bridge("audit", *PAIR, "--dictionary", SAE, "--json")
    audited = {m["arm"]: m for m in json.loads(out)["metrics"] if m["name"] == "sae_ev"}
    code, out, _ = bridge("transfer", "sae", ridge, SAE, "--out", tmp_path / "sae", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["back"] == "fitted" and said["held_out"]["mapped"]["ev"] > 0.1
    assert said["held_out"]["mapped"]["low"] > said["held_out"]["mispaired"]["high"]
    for arm in ("mapped", "mispaired", "self"):
        found = said["held_out"][arm]
        assert found["n"] == audited[arm]["n"]
        for key, name in (("ev", "value"), ("low", "low"), ("high", "high")):
            assert found[key] == pytest.approx(audited[arm][name], abs=1e-4)
    assert json.loads((tmp_path / "sae" / "transfer.json").read_text())["held_out"] == said["held_out"]

    # The file itself, over the rows themselves.
    carried = open_dictionary(str(tmp_path / "sae"), open_runtime().registry)
    rows = open_held_out(load(ridge), open_runtime())
    assert rows is not None
    y = np.concatenate([block.y for block in rows]).astype(np.float64)
    ev = 1 - np.square(y - carried.reconstruct(y.astype(np.float32))).sum() / np.square(y - y.mean(0)).sum()
    assert ev == pytest.approx(said["held_out"]["mapped"]["ev"], abs=1e-5)

    code, out, _ = bridge("transfer", "sae", ridge, SAE, "--out", tmp_path / "told", "--quiet")
    assert f"explains {ev:.3f}" in out and "held-out activations of tiny-qwen@0" in out
    assert f"A map of mispaired rows: EV {said['held_out']['mispaired']['ev']:.3f}" in out


def test_probes_through_ridge_say_how_they_agree(ridge: Path, tmp_path: Path) -> None:
    rows = open_held_out(load(ridge), open_runtime())
    assert rows is not None
    blocks = list(rows)
    x, y = (np.concatenate([getattr(block, side) for block in blocks]).astype(np.float64) for side in "xy")
    # What the source says loudest can be carried.
    probe = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:2]
    save_file({"p": probe, "p.bias": np.array([1.0, -2.0])}, tmp_path / "probes.safetensors")
    out_file = tmp_path / "carried.safetensors"
    code, out, _ = bridge("transfer", "probes", ridge, tmp_path / "probes.safetensors", "--out", out_file, "--json")
    assert code == 0
    found = json.loads(out)["p"]["held_out"]
    arrays = load_file(out_file)
    wanted, got = x @ probe.T + [1.0, -2.0], y @ arrays["p"].T + arrays["p.bias"]
    assert found["ev"] == pytest.approx(1 - np.square(got - wanted).sum() / np.square(wanted - wanted.mean(0)).sum())
    assert found["ev"] > 0.3
    r = np.mean([np.corrcoef(wanted[:, i], got[:, i])[0, 1] for i in range(2)])
    assert found["r"] == pytest.approx(r) and 0.5 < found["spread"] < 1.1 and found["n"] == len(x)
    with safe_open(out_file, "numpy") as file:
        record = json.loads(file.metadata()["residual-bridge"])
    assert record["held_out"]["p"] == found and record["back"] == "fitted"
    assert found["mispaired"]["high"] < found["low"] and abs(found["mispaired"]["r"]) < 0.3 < found["r"]
    code, out, _ = bridge("transfer", "probes", ridge, tmp_path / "probes.safetensors", "--out", tmp_path / "b")
    assert f"held-out rows: EV {found['ev']:.3f}" in out
    assert f"A map of mispaired rows: EV {found['mispaired']['ev']:.3f}" in out


def test_moved_directions_say_how_projections_correlate(ridge: Path, tmp_path: Path) -> None:
    rows = open_held_out(load(ridge), open_runtime())
    assert rows is not None
    blocks = list(rows)
    x, y = (np.concatenate([getattr(block, side) for block in blocks]).astype(np.float64) for side in "xy")
    given = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][:3]
    save_file({"axes": given, "one": given[0], "none": np.zeros(112)}, tmp_path / "given.safetensors")
    out_file = tmp_path / "moved.safetensors"
    flags = ("transfer", "directions", ridge, tmp_path / "given.safetensors", "--out")
    code, out, _ = bridge(*flags, out_file, "--json")
    assert code == 0
    found, moved = json.loads(out), load_file(out_file)
    for name, some in (("axes", given), ("one", given[:1])):
        here, there = x @ some.T, y @ np.atleast_2d(moved[name]).astype(np.float64).T
        r = np.mean([np.corrcoef(here[:, i], there[:, i])[0, 1] for i in range(len(some))])
        scored = found[name]["held_out"]
        assert scored["r"] == pytest.approx(r, abs=1e-5) and scored["n"] == len(x)
        assert scored["mispaired"]["high"] < scored["low"] <= scored["r"] <= scored["high"]
    assert found["none"]["held_out"]["r"] is None, "a projection that is always 0 correlates with nothing"
    with safe_open(out_file, "numpy") as file:
        assert json.loads(file.metadata()["residual-bridge"])["held_out"]["one"] == found["one"]["held_out"]
    code, out, _ = bridge(*flags, tmp_path / "told")
    assert f"correlate: r {found['one']['held_out']['r']:.3f}" in out and "(mispaired " in out
    code, out, _ = bridge(*flags, tmp_path / "not", "--no-score")
    assert code == 0 and "correlate" not in out
    rows_of = ("--dictionary", SAE, "--features", "3,5")
    code, out, _ = bridge("transfer", "directions", ridge, *rows_of, "--out", tmp_path / "rows", "--json")
    assert code == 0 and json.loads(out)["directions"]["held_out"]["r"] > 0.1


def test_the_way_back_is_the_map_fitted_the_other_way(ridge: Path, tmp_path: Path) -> None:
    reverse = ("--src", "tiny-qwen", "--dst", "tiny-gemma", *PAIR[4:])
    assert bridge("fit", *reverse, "--out", tmp_path / "reverse")[0] == 0
    y = np.random.default_rng(0).normal(size=(5, 128))
    np.testing.assert_allclose(load(ridge).back()(y), load(tmp_path / "reverse")(y), atol=1e-6)
    assert not np.allclose(load(ridge).back()(y), load(ridge).inverse()(y), rtol=0.5)
    back = load(ridge).back()
    assert (back.src, back.dst) == ("tiny-qwen@0", "tiny-gemma@2")
    with pytest.raises(MapError, match="cannot be saved"):
        back.save(tmp_path / "no")


def test_folders_without_a_way_back_load_and_refuse_in_words(older: Path, ridge: Path, tmp_path: Path) -> None:
    x = np.ones((2, 112))
    np.testing.assert_array_equal(load(older)(x), load(ridge)(x))
    with pytest.raises(MapError, match=r"no reverse map.*earlier version"):
        load(older).back()
    save_file({"p": np.ones(112)}, tmp_path / "p.safetensors")
    for what in (["sae", older, SAE], ["probes", older, tmp_path / "p.safetensors"]):
        code, _, err = bridge("transfer", *what, "--out", tmp_path / "none")
        said = " ".join(err.split())
        assert code == 1 and "no reverse map" in said and "bridge fit FOLDER/config.toml" in said
        assert not (tmp_path / "none").exists()
    assert bridge("fit", older / "config.toml", "--out", tmp_path / "again", "--quiet")[0] == 0
    assert bridge("transfer", "sae", tmp_path / "again", SAE, "--out", tmp_path / "sae", "--quiet")[0] == 0


def test_a_way_back_that_is_not_there_is_found(older: Path) -> None:
    bind(older, lambda record: record | {"way_back": True})
    with pytest.raises(BridgeError, match="affine map needs weight"):
        load(older)


def test_a_rotation_without_a_way_back_is_its_own_transpose(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    turned = np.linalg.qr(rng.normal(size=(112, 112)))[0]
    side = {"site": "2", "n_layers": 4}
    for scale, works in ((1.0, True), (0.5, False)):
        fitted = AffineMap(scale * turned, rng.normal(size=112), rng.normal(size=112))
        made = Bridge("tiny-gemma@2", "tiny-gemma@2", "mine", {}, fitted, {"src": side, "dst": side})
        made.save(tmp_path / f"{scale}")
        folder = tmp_path / f"{scale}"
        bind(folder, lambda record: record | {"map": "procrustes"})
        out = tmp_path / f"sae-{scale}"
        code, said, err = bridge("transfer", "sae", folder, SAE, "--out", out)
        if works:
            assert (
                code == 0 and "NOT scored" in said and "has no record of what it was fitted on" in " ".join(err.split())
            )
            assert json.loads((out / "transfer.json").read_text())["back"] == "inverse"
        else:
            assert code == 1 and "changes lengths" in " ".join(err.split())


def test_not_scoring_is_said(ridge: Path, tmp_path: Path) -> None:
    code, out, _ = bridge("transfer", "sae", ridge, SAE, "--out", tmp_path / "sae", "--no-score", "--quiet")
    assert code == 0 and "It is NOT scored" in out
    folder = shutil.copytree(ridge, tmp_path / "moved")
    bind(folder, lambda record: record["provenance"]["options"].update(dst="gone@1"))
    code, out, err = bridge("transfer", "sae", folder, SAE, "--out", tmp_path / "gone")
    assert code == 0 and "NOT scored" in out and "There is no model gone" in " ".join(err.split())


def test_saving_never_overwrites_another_bridge(ridge: Path, tmp_path: Path) -> None:
    kept = load(ridge)
    kept.save(tmp_path / "mine")
    before = {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()}
    load(tmp_path / "mine").save(tmp_path / "mine")
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before
    other: dict[str, Any] = {"src": "a@1", "dst": kept.dst, "map": kept.map, "options": kept.options}
    changed = AffineMap(2 * np.ones((112, 128)), np.zeros(112), np.zeros(128))
    for another in (
        Bridge(**other, fitted=kept.fitted, provenance=kept.provenance, fitted_back=kept.fitted_back),
        Bridge(kept.src, kept.dst, kept.map, kept.options, changed, kept.provenance, kept.fitted_back),
        Bridge(kept.src, kept.dst, kept.map, kept.options, kept.fitted, kept.provenance),
    ):
        with pytest.raises(UsageError, match="already holds another bridge"):
            another.save(tmp_path / "mine")
    assert {path.name: path.read_bytes() for path in (tmp_path / "mine").iterdir()} == before
    (tmp_path / "mine" / "bridge.json").write_text("{")
    with pytest.raises(BridgeError, match="already holds another bridge"):
        kept.save(tmp_path / "mine")
