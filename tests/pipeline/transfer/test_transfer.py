"""Chosen decoder rows and probes carried through a bridge, on the shipped toy and on maps made by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import bridge_toys.dyck
from bridge import load
from bridge.cli import bridge
from bridge.errors import BridgeError, MapError, UsageError
from bridge.maps import AffineMap
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.transfer.directions import parse_features
from bridge.pipeline.transfer.probes import transfer_probes
from sealed_files import bind

SAES = Path(bridge_toys.dyck.__file__).parent / "checkpoints" / "seed0" / "dictionaries"
SAE = SAES / "1" / "relu"


@pytest.fixture(scope="module")
def rotation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("rotation") / "bridge"
    flags = ("--map", "procrustes:scaled=false", "--max-documents", "300", "--quiet")
    result = call("fit", "--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", *flags, "--out", out)
    assert result.exit_code == 0, result.exception
    return out


def call(*arguments: object) -> Result:
    return CliRunner().invoke(bridge, [str(argument) for argument in arguments])


def carried(out: Path) -> tuple[dict[str, np.ndarray], dict[str, object]]:
    with safe_open(out, "numpy") as file:
        return load_file(out), json.loads(file.metadata()["residual-bridge"])


def test_chosen_decoder_rows(rotation: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.safetensors"
    command = ("transfer", "directions", rotation, "--dictionary", SAE)
    result = call(*command, "--features", "200,3,17, 45-47,3", "--out", out)
    assert result.exit_code == 0, result.exception
    assert result.stdout.startswith("directions: [6, 64], gain 1.000; projections of ")
    assert "BOS" not in result.stderr, "the toy reads texts with BOS, as its dictionaries were trained"
    arrays, record = carried(out)
    chosen = [200, 3, 17, 45, 46, 47]
    rows = load_file(SAE / "sae_weights.safetensors")["W_dec"][chosen]
    np.testing.assert_array_equal(arrays["directions"], load(rotation).direction(rows))
    assert record["features"] == chosen and record["dictionary"] == str(SAE)

    for features, said in (
        ("3,256", "has no feature 256. Its features are 0 to 255"),
        ("5-3", "is not a feature range"),
    ):
        error = call(*command, "--features", features, "--out", tmp_path / "none").exception
        assert isinstance(error, UsageError) and said in str(error)
    error = call(*command, "--out", tmp_path / "none").exception
    assert "either VECTORS, or --dictionary and --features" in str(error)
    command = ("transfer", "directions", rotation, "--dictionary", SAES / "0" / "relu", "--features", "1")
    assert "names the site blocks.0" in str(call(*command, "--out", tmp_path / "none").exception)
    assert not (tmp_path / "none").exists()
    for text in ("", "3,", "-3", "a", "3..5"):
        with pytest.raises(UsageError, match="is not a feature range"):
            parse_features(text)


@pytest.mark.parametrize("what", [["directions", "--features", "1", "--dictionary"], ["sae"]])
def test_a_dictionary_trained_without_bos_is_told(rotation: Path, what: list[str], tmp_path: Path) -> None:
    sae = shutil.copytree(SAE, tmp_path / "sae")
    config = json.loads((sae / "cfg.json").read_text())
    config["metadata"]["prepend_bos"] = False
    (sae / "cfg.json").write_text(json.dumps(config))
    result = call("transfer", what[0], rotation, *what[1:], sae, "--out", tmp_path / "told")
    assert result.exit_code == 0, result.exception
    assert f"{sae} was trained on texts without BOS, but dyck:seed0 reads texts with BOS" in result.stderr
    assert call("transfer", what[0], rotation, *what[1:], sae, "--out", tmp_path / "quiet", "--quiet").stderr == ""

    # The bridge is of use on a machine that does not have its models.
    folder = shutil.copytree(rotation, tmp_path / "bridge")
    bind(folder, lambda record: record | {"src": "gone@1"})
    result = call("transfer", what[0], folder, *what[1:], sae, "--out", tmp_path / "gone")
    assert result.exit_code == 0, result.exception
    assert "was not compared with gone@1: There is no model gone." in result.stderr


def test_a_carried_probe_reads_the_same_number(rotation: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    given = {"single": rng.normal(size=64), "single.bias": np.array(0.7), "plain": rng.normal(size=64)}
    given |= {"several": rng.normal(size=(3, 64)), "several.bias": rng.normal(size=3)}
    given["narrow"] = given["single"].astype(np.float16)
    save_file(given, tmp_path / "probes.safetensors")
    out = tmp_path / "carried.safetensors"
    result = call("transfer", "probes", rotation, tmp_path / "probes.safetensors", "--out", out)
    assert result.exit_code == 0, result.exception
    assert "several: [3, 64], gain 1.000; agrees on " in result.stdout
    arrays, record = carried(out)
    assert set(arrays) == set(given) | {"plain.bias", "narrow.bias"}
    assert record["back"] == "fitted"
    assert {str(a.dtype) for n, a in arrays.items() if "narrow" not in n} == {"float64"}
    assert arrays["narrow"].dtype == arrays["narrow.bias"].dtype == np.float32
    move = load(rotation)
    for x in rng.normal(size=(5, 64)) * 10 + 3:
        y = move(x)
        for name in ("single", "plain", "several"):
            outputs = range(3) if name == "several" else [()]
            for output in outputs:
                read = sum(w * v for w, v in zip(given[name][output], x, strict=True))
                read += given[f"{name}.bias"][output] if f"{name}.bias" in given else 0.0
                found = (
                    sum(w * v for w, v in zip(arrays[name][output], y, strict=True)) + arrays[f"{name}.bias"][output]
                )
                assert found == pytest.approx(read, abs=1e-9)


def test_probes_across_widths_read_through_the_way_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)

    def between(src: int, dst: int) -> Bridge:
        fitted = AffineMap(rng.normal(size=(src, dst)), rng.normal(size=src), rng.normal(size=dst))
        return Bridge(f"m{src}@0", f"m{dst}@0", "ols", {}, fitted, {})

    wide, narrow = between(5, 8), between(8, 5)
    given = {"w": rng.normal(size=(2, 5)), "w.bias": rng.normal(size=2)}
    path = tmp_path / "probes.safetensors"
    save_file(given, path)
    with pytest.raises(MapError, match="no reverse map, and the map ols changes lengths"):
        transfer_probes(wide, path, tmp_path / "none")
    keeping = Bridge("m5@0", "m8@0", "ols", {}, wide.fitted, {}, between(8, 5).fitted)
    for through, back, name in ((wide, narrow, "given"), (keeping, None, "fitted")):
        transfer_probes(through, path, tmp_path / name, back)
        arrays, record = carried(tmp_path / name)
        assert record["back"] == name
        for y in rng.normal(size=(4, 8)):
            x = (back or keeping.back())(y)
            read = arrays["w"] @ y + arrays["w.bias"]
            np.testing.assert_allclose(read, given["w"] @ x + given["w.bias"], atol=1e-10)
    with pytest.raises(UsageError, match="not from m8@0 to m5@0"):
        transfer_probes(wide, path, tmp_path / "none", wide)
    save_file({"w": rng.normal(size=8)}, tmp_path / "eight.safetensors")
    with pytest.raises(MapError, match="no reverse map"):
        transfer_probes(narrow, tmp_path / "eight.safetensors", tmp_path / "none")
    for bad, said in (
        ({"w": np.ones(8)}, r"The probe w has shape \(1, 8\)"),
        ({"w": np.ones((2, 5)), "w.bias": np.ones(3)}, r"w.bias has shape \(3,\); its probe's outputs are \(2,\)"),
        ({"v.bias": np.ones(1)}, "holds v.bias, but no weights"),
        ({"w": np.full(5, np.nan)}, "The tensor w .* not finite floats"),
    ):
        save_file(bad, path)
        with pytest.raises(BridgeError, match=said):
            transfer_probes(keeping, path, tmp_path / "none")
    assert not (tmp_path / "none").exists()
