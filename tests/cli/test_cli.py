"""The command line and the Python API, from arguments to folders: what works, what is refused, what survives."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from safetensors.numpy import save_file as save_numpy

import bridge
from bridge.cli import COMMANDS, main
from bridge.errors import BridgeError, CorruptArtifactError, ShapeError
from bridge.files.sealed import write_sealed
from sealed_files import bind, unsealed

SRC, DST, TWIN = "./llama-0@1", "./gemma-0@1", "./pythia-0@1"
SMALL = ("--max-documents", "60", "--max-tokens", "48", "--dtype", "float32")
FIELDS = ["scorer", "name", "arm", "map", "src", "dst", "value", "low", "high", "n", "control", "note"]
FILES = {"bridge.safetensors", "bridge.json", "metrics.json", "config.toml", "report.html"}
COMMAND = str(Path(sys.executable).with_name("bridge"))


def call(*arguments: object, stdin: str = "") -> tuple[int, str, str]:
    """Run the command in this process; return exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "stdin", io.StringIO(stdin))
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()


def succeed(*arguments: object, stdin: str = "") -> str:
    code, out, err = call(*arguments, stdin=stdin)
    assert code == 0, err
    return out


def strict_json(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def paragraph(err: str) -> str:
    """Return the error of a failed command; it must be one paragraph and no traceback."""
    assert "Traceback" not in err
    _, _, message = err.partition("Error:")
    assert message, err
    assert "\n\n" not in message.strip()
    return " ".join(message.split())


def same_bytes(first: Path, second: Path, *names: str) -> None:
    for name in names or ("metrics.json", "bridge.safetensors", "bridge.json"):
        if name == "bridge.json":  # the files that it lists may be others: a fit has no metrics
            assert unsealed(first / name) == unsealed(second / name)
        else:
            assert (first / name).read_bytes() == (second / name).read_bytes(), name


@dataclass
class Lab:
    """What the tests of this file share: a warm cache, the tiny models' folder, and one finished run."""

    home: Path
    models: Path
    corpus: str
    run: Path
    table: str

    def args(self, src: str = SRC, dst: str = DST) -> list[str]:
        return ["--src", src, "--dst", dst, "--corpus", self.corpus, *SMALL]


@pytest.fixture(scope="module")
def laboratory(
    tiny_models: Mapping[str, list[Path]], corpus_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Lab:
    home, models = tmp_path_factory.mktemp("lab"), tiny_models["llama"][0].parent
    lab = Lab(home, models, str(corpus_file), home / "run", "")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BRIDGE_CACHE_DIR", str(home / "cache"))
        patch.setenv("BRIDGE_CONFIG_DIR", str(home / "config"))
        patch.chdir(models)
        lab.table = succeed("run", *lab.args(), "--out", lab.run)
    return lab


@pytest.fixture
def lab(laboratory: Lab, isolated: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(laboratory.home / "cache"))
    monkeypatch.chdir(laboratory.models)
    return laboratory


# Help


def test_help_names_every_command_and_imports_nothing_heavy() -> None:
    done = subprocess.run([COMMAND, "--help"], capture_output=True, text=True, check=True)
    assert all(re.search(rf"^  {command} ", done.stdout, re.MULTILINE) for command in COMMANDS)
    heavy = [
        "torch",
        "numpy",
        "transformers",
        "nnsight",
        "scipy",
        "sklearn",
        "pydantic",
        "rich",
        "matplotlib",
        "bridge.plugins",
    ]
    code = f"""
import contextlib, sys
from bridge.cli import main
with contextlib.suppress(SystemExit):
    main(["--help"])
sys.exit(" ".join(sorted(set(sys.modules) & set({heavy}))))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("command", [*([name] for name in COMMANDS), ["transfer", "directions"]])
def test_every_command_explains_itself(command: list[str]) -> None:
    for flag in ("--help", "-h"):
        out = succeed(*command, flag)
        assert out.startswith("Usage: ")
        assert "Options:" in out
    code, _, err = call(*command, "--nonsense")
    assert code == 2
    assert "No such option" in err


# Run


def test_run_prints_a_table_and_leaves_a_folder(lab: Lab) -> None:
    assert {path.name for path in lab.run.iterdir()} == FILES
    assert re.search(r"held-out score +mapped +mispaired +random_map", lab.table)
    for name in ("ev", "cosine", "retrieval@1", "cka"):
        assert re.search(rf"^ +{name} +-?\d\.\d{{3}} \[", lab.table, re.MULTILINE)
    assert "The map explains" in lab.table
    assert f"Results: {lab.run}" in lab.table
    document = strict_json((lab.run / "metrics.json").read_text())
    assert list(document) == ["schema", "bridge", "metrics"]
    assert document["schema"] == 1
    for metric in document["metrics"]:
        assert list(metric) == FIELDS
        assert metric["control"] in ({"mispaired", "random_map"} if metric["arm"] == "mapped" else {""})
        assert metric["low"] <= metric["value"] <= metric["high"]
    record = strict_json((lab.run / "bridge.json").read_text())
    assert record["provenance"] == document["bridge"]
    assert (record["d_src"], record["d_dst"], record["map"]) == (32, 40, "ridge")


def test_config_runs_the_same_again_from_anywhere(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path / "cache"))
    succeed("run", lab.run / "config.toml", "--out", "again")
    same_bytes(lab.run, tmp_path / "again", *FILES)
    # And the first command again, into its own folder, changes nothing.
    before = {name: (lab.run / name).read_bytes() for name in FILES}
    monkeypatch.chdir(lab.models)
    succeed("run", *lab.args(), "--out", lab.run)
    assert {path.name: path.read_bytes() for path in lab.run.iterdir()} == before


def test_json_is_one_document_with_every_arm_and_unmet_requirements_cost_nothing(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "out"
    requirements = ("--require", "ev>=-5", "--require", "retrieval@1>=0.99")
    code, stdout, err = call("run", *lab.args(SRC, TWIN), "--out", out, "--json", *requirements)
    assert code == 4
    assert re.search(r"retrieval@1 is 0\.\d+, below the required 0\.99", paragraph(err))
    assert {path.name for path in out.iterdir()} == FILES
    document = strict_json(stdout)
    assert document == strict_json((out / "metrics.json").read_text())
    arms = {metric["name"]: set() for metric in document["metrics"]}
    for metric in document["metrics"]:
        arms[metric["name"]].add(metric["arm"])
    assert set(map(frozenset, arms.values())) == {frozenset({"mapped", "mispaired", "random_map", "raw"})}
    assert call("run", *lab.args(SRC, TWIN), "--out", out, "--require", "ev>=-5", "--quiet")[0::2] == (0, "")


def test_standard_input_is_kept_with_the_run(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path(lab.corpus).read_text(encoding="utf-8")
    arguments = ["--src", SRC, "--dst", DST, "--corpus", "-", *SMALL, "--out", tmp_path / "out"]
    succeed("run", *arguments, stdin=text)
    monkeypatch.chdir(tmp_path)
    succeed("run", "out/config.toml", "--out", "again")
    same_bytes(tmp_path / "out", tmp_path / "again")
    np.testing.assert_equal(
        load_file(tmp_path / "out" / "bridge.safetensors"), load_file(lab.run / "bridge.safetensors")
    )
    # The kept corpus is bound to the folder, and pinned by its content.
    kept = tmp_path / "out" / "corpus.jsonl"
    kept.write_text(kept.read_text().replace("the", "teh", 1))
    code, _, err = call("run", "out/config.toml", "--out", "third")
    assert code == 1
    assert "corpus.jsonl is not the file that was written with bridge.json" in paragraph(err)
    shutil.copy("out/config.toml", "copy.toml")
    code, _, err = call("run", "copy.toml", "--out", "third")
    assert code == 1
    assert "differs from the corpus that this experiment was made with" in paragraph(err)


# Interruption


LONG = ("--corpus", "english", "--max-documents", "1100", "--max-tokens", "24", "--dtype", "float32")


NEEDED = (
    "activation_sources.transformers,models.llama,models.gemma,maps.ridge,maps.random_orthogonal,"
    "scorers.explained_variance"
)


def start(out: Path, lab: Lab) -> subprocess.Popen[str]:
    command = [COMMAND, "run", "--src", SRC, "--dst", DST, *LONG, "--out", str(out)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=lab.models, stdout=pipe, stderr=pipe, text=True)


def sidecars(cache: Path) -> int:
    return len(list(cache.glob("activations/*/shard-*.json")))


def shards(cache: Path) -> dict[str, bytes]:
    return {str(path.relative_to(cache)): path.read_bytes() for path in cache.glob("activations/*/shard-*")}


def stop_after_shards(process: subprocess.Popen[str], cache: Path, count: int, number: signal.Signals) -> str:
    deadline = time.monotonic() + 60
    while sidecars(cache) < count and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate(timeout=60)[1]


def test_killed_interrupted_and_concurrent_runs_end_the_same(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(cache))
    monkeypatch.setenv("BRIDGE_ONLY_PLUGINS", NEEDED)
    killed = start(tmp_path / "one", lab)
    stop_after_shards(killed, cache, 1, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    after_kill = sidecars(cache)
    assert after_kill >= 1

    interrupted = start(tmp_path / "one", lab)
    err = stop_after_shards(interrupted, cache, after_kill + 1, signal.SIGINT)
    assert interrupted.returncode == 130, err
    assert "Interrupted. Finished work is kept: the same command continues from there." in " ".join(err.split())
    assert "Traceback" not in err
    after_interrupt = sidecars(cache)
    assert not (tmp_path / "one").exists()

    both = [start(tmp_path / name, lab) for name in ("one", "two")]
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert after_kill < after_interrupt < sidecars(cache)
    assert 1 <= sum(text.count("Loading ") for text in errors) <= 4  # both work, or one has nothing to do

    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path / "fresh"))
    succeed("run", "--src", SRC, "--dst", DST, *LONG, "--out", tmp_path / "undisturbed")
    assert sidecars(tmp_path / "fresh") >= 6
    assert shards(tmp_path / "fresh") == shards(cache)
    for name in ("one", "two"):
        same_bytes(tmp_path / name, tmp_path / "undisturbed")
    assert not list(tmp_path.rglob("*.tmp"))


# Sweep


def test_sweep(lab: Lab, tmp_path: Path) -> None:
    out = tmp_path / "sweep"
    arguments = ["sweep", *lab.args("./llama-0@*", "./qwen-0@0,2-3"), "--map", "ols"]
    code, stdout, err = call(*arguments, "--out", out, "--json")
    assert code == 0, err
    assert err.count("Loading") == 2
    document = strict_json(stdout)
    assert document == unsealed(out / "metrics.json")
    assert {path.name for path in out.iterdir()} == {"metrics.json", "report.html", "sweep.png", "sweep.toml"}
    assert (out / "sweep.png").read_bytes().startswith(b"\x89PNG\r\n")
    pairs = {(metric["src"][-2:], metric["dst"][-2:]) for metric in document["metrics"]}
    assert pairs == {(f"@{i}", f"@{j}") for i in (0, 1, 2) for j in (0, 2, 3)}
    for name in ("ev", "retrieval@1"):
        values = [metric["value"] for metric in document["metrics"] if metric["name"] == name]
        assert len(values) == 9

    best = max((metric for metric in document["metrics"] if metric["name"] == "ev"), key=lambda metric: metric["value"])
    value, count = validation_ev(lab, best["src"], best["dst"])
    assert best["n"] == count
    assert best["value"] == pytest.approx(value, abs=1e-5)

    table = succeed("sweep", out / "sweep.toml", "--out", out)
    assert f"Best ev: {best['src']} -> {best['dst']}, {best['value']:.3f}" in table
    assert unsealed(out / "metrics.json") == document


def validation_ev(lab: Lab, src: str, dst: str) -> tuple[float, int]:
    """Least squares on training folds 1 to 4, scored on fold 0, from transformers and numpy alone."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bridge.corpus import load_corpus
    from bridge.corpus.split import assign_folds

    corpus = load_corpus(lab.corpus, max_documents=60)
    folds = assign_folds(corpus, held_out=0.2, folds=5, kind="random", seed=0)
    sides = []
    for reference in (src, dst):
        folder, layer = reference.rsplit("@", 1)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder)
        rows = []
        for document in corpus.documents:
            encoded = tokenizer(document.text, return_offsets_mapping=True)
            states: list[Any] = []
            hook = model.model.layers[int(layer)].register_forward_hook(lambda m, i, o, s=states: s.append(o))
            with torch.no_grad():
                model(torch.tensor([encoded["input_ids"][:48]]))
            hook.remove()
            begins = [start for start, end in encoded["offset_mapping"][:48] if end]
            ends = [end for start, end in encoded["offset_mapping"][:48] if end]
            kept = states[0][0][-len(ends) :].numpy()
            assert begins[0] == 0
            where = {end: row for row, end in enumerate(ends)}
            rows.append({end: kept[row] for end, row in where.items() if row >= 8})
        sides.append(rows)
    x, y, fold = [], [], []
    for index, (left, right) in enumerate(zip(*sides, strict=True)):
        for end in sorted(set(left) & set(right)):
            x.append(left[end])
            y.append(right[end])
            fold.append(folds[index])
    x, y, fold = np.array(x, dtype=np.float64), np.array(y, dtype=np.float64), np.array(fold)
    norms = np.stack([np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1)])
    typical = (norms <= 4 * np.median(norms[:, fold >= 0], axis=1)[:, None]).all(0)
    train, test = typical & (fold > 0), typical & (fold == 0)
    mean_x, mean_y = x[train].mean(0), y[train].mean(0)
    weight = np.linalg.lstsq(x[train] - mean_x, y[train] - mean_y, rcond=None)[0]
    error = y[test] - ((x[test] - mean_x) @ weight + mean_y)
    return float(1 - (error**2).sum() / ((y[test] - y[test].mean(0)) ** 2).sum()), int(test.sum())


# Fit, transfer, Python


def test_fit_and_python_give_the_numbers_of_the_command(lab: Lab, tmp_path: Path) -> None:
    options = {"corpus": lab.corpus, "max_documents": 60, "max_tokens": 48, "dtype": "float32"}
    report = strict_json(succeed("fit", *lab.args(), "--out", tmp_path / "fit", "--json"))
    assert report["map"] == "ridge"
    assert {path.name for path in (tmp_path / "fit").iterdir()} == FILES - {"metrics.json", "report.html"}
    same_bytes(tmp_path / "fit", lab.run, "bridge.safetensors", "bridge.json", "config.toml")
    # A run into the folder of the same fit adds the scores.
    succeed("run", *lab.args(), "--out", tmp_path / "fit")
    same_bytes(tmp_path / "fit", lab.run)

    fitted = bridge.fit(SRC, DST, map="ridge", **options)
    fitted.save(tmp_path / "saved")
    same_bytes(tmp_path / "saved", lab.run, "bridge.safetensors", "bridge.json")
    scored = bridge.run(SRC, DST, **options)
    assert scored.folder is None
    assert json.loads(json.dumps(scored.document())) == json.loads((lab.run / "metrics.json").read_text())
    loaded = bridge.load(lab.run)
    x = np.random.default_rng(0).normal(size=(5, 32))
    np.testing.assert_array_equal(loaded(x), scored.bridge(x))
    assert repr(loaded) == repr(fitted)
    best = bridge.sweep("./llama-0@1", "./gemma-0@1", **options).best("ev")
    assert (best.src, best.dst) == (loaded.src, loaded.dst)


def test_arrays_of_every_kind(lab: Lab) -> None:
    import torch

    loaded = bridge.load(lab.run)
    weight, mean_src, mean_dst = (
        load_file(lab.run / "bridge.safetensors")[k] for k in ("weight", "mean_src", "mean_dst")
    )
    x = np.random.default_rng(0).normal(size=(5, 32))
    points, directions = (x - mean_src) @ weight + mean_dst, x @ weight
    for move, expected in ((loaded, points), (loaded.direction, directions)):
        for given, tolerance in ((np.float64, 1e-12), (np.float32, 1e-4), (np.float16, 1e-2)):
            for rows, wanted in ((x, expected), (x[0], expected[0]), (x[:0], expected[:0])):
                moved = move(rows.astype(given))
                assert moved.shape == wanted.shape
                assert moved.dtype == (np.float64 if given is np.float64 else np.float32)
                np.testing.assert_allclose(moved, wanted, atol=tolerance * 10, rtol=tolerance)
        for kind, result, tolerance in (
            (torch.float64, torch.float64, 1e-12),
            (torch.float32, torch.float32, 1e-4),
            (torch.bfloat16, torch.float32, 3e-2),
        ):
            for rows, wanted in ((x, expected), (x[0], expected[0])):
                moved = move(torch.from_numpy(rows).to(kind).requires_grad_())
                assert (moved.dtype, tuple(moved.shape)) == (result, wanted.shape)
                np.testing.assert_allclose(moved.numpy(), wanted, atol=tolerance * 10, rtol=tolerance)
        for wrong in (x[:, :31], x[0, :31], x[None], np.float64(3.0), torch.zeros(2, 33)):
            with pytest.raises(ShapeError, match=r"has shape \(.*\); this map takes \(n, 32\)"):
                move(np.asarray(wrong) if isinstance(wrong, np.floating) else wrong)
    with pytest.raises(BridgeError, match="no inverse"):
        bridge.load(lab.run).inverse().inverse()


def test_transfer_directions(lab: Lab, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    vectors = {
        "probe": torch.randn(32, generator=generator),
        "decoder": torch.randn(7, 32, generator=generator).bfloat16(),
        "exact": torch.randn(2, 32, generator=generator, dtype=torch.float64),
    }
    given, out = tmp_path / "given.safetensors", tmp_path / "moved.safetensors"
    save_file(vectors, given)
    report = strict_json(succeed("transfer", "directions", lab.run, given, "--out", out, "--json"))
    moved = load_file(out)
    loaded = bridge.load(lab.run)
    assert set(moved) == set(vectors) == set(report)
    for name, vector in vectors.items():
        expected = loaded.direction(vector).numpy().astype(np.float32)
        np.testing.assert_array_equal(moved[name], expected)
        lengths = np.linalg.norm(np.atleast_2d(vector.double().numpy()), axis=1)
        gain = (np.linalg.norm(np.atleast_2d(expected), axis=1) / lengths).mean()
        held_out = report[name].pop("held_out")
        assert held_out["low"] <= held_out["r"] <= held_out["high"] and "mispaired" in held_out
        assert report[name] == {"shape": list(expected.shape), "gain": pytest.approx(gain, rel=1e-5)}

    before = out.read_bytes()
    code, _, err = call("transfer", "directions", lab.run, given, "--out", out)
    assert (code, out.read_bytes()) == (2, before)
    assert "nothing is overwritten" in paragraph(err)
    save_numpy({"wide": np.zeros((3, 40), np.float32)}, tmp_path / "wide.safetensors")
    code, _, err = call("transfer", "directions", lab.run, tmp_path / "wide.safetensors", "--out", tmp_path / "none")
    assert code == 1
    assert "(3, 40); this map takes (n, 32)" in paragraph(err)
    assert not (tmp_path / "none").exists()
    for bad in (np.full((1, 32), np.nan, np.float32), np.ones((1, 32), np.int64)):
        save_numpy({"bad": bad}, tmp_path / "bad.safetensors")
        code, _, err = call("transfer", "directions", lab.run, tmp_path / "bad.safetensors", "--out", tmp_path / "none")
        assert code == 1
        assert "The tensor bad" in paragraph(err)


# Models, doctor


def test_models_and_doctor(lab: Lab, isolated: Path) -> None:
    hand, config = isolated / "models", isolated / "config"
    shutil.copytree(lab.models / "gpt2-0", hand / "gpt2")
    config.mkdir()
    (config / "aliases.toml").write_text(f'mine = "{lab.models}/llama-0@2"\nqwen = "{lab.models}/qwen-0@1"\n')
    listed = strict_json(succeed("models", "--json"))
    assert listed["models_folder"] == str(hand)
    by_name = {entry["name"]: entry for entry in listed["models"] if entry["family"] != "yours"}
    wanted = {"qwen": ("Qwen/Qwen2.5-7B-Instruct", "20"), "gemma": ("google/gemma-3-27b-it", "41")}
    for name, (model, site) in wanted.items():
        assert (by_name[name]["model"], by_name[name]["site"], by_name[name]["here"]) == (model, site, False)
    assert by_name["gpt2"]["here"] is True
    assert {entry["name"] for entry in listed["models"] if entry["family"] == "yours"} == {"mine", "qwen"}
    assert "gemma3-270m" in succeed("models")

    code, out, _ = call("doctor", "--json")
    checks = {check["name"]: check for check in strict_json(out)["checks"]}
    assert code == (0 if all(check["ok"] for check in checks.values()) else 1)
    for name in ("python", "torch", "devices", "cache", "hub", "plugins"):
        assert name in checks
    assert checks["models put by hand"]["detail"] == f"{hand}: gpt2"
    assert checks["user aliases"]["detail"] == "mine, qwen"
    # The user's own names win, and run.
    succeed("run", *lab.args("mine", "qwen"), "--out", isolated / "out", "--quiet")
    assert tomllib.loads((isolated / "out" / "config.toml").read_text())["src"] == "mine@2"
    (config / "aliases.toml").write_text("mine = \n")
    code, out, _ = call("doctor")
    assert code == 1
    assert "aliases.toml is not readable TOML" in out


# Bad input


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"--src": "smolm2-135m@3"}, 2, "There is no model smolm2-135m. Did you mean smollm2-135m"),
        ({"--src": "pythia-70m:seed99@3"}, 2, "pythia-70m has no variant seed99. It has seed1"),
        ({"--src": "./llama-0@3"}, 2, "There is no block 3: this model has 3 blocks. Choose a layer from 0 to 2"),
        ({"--src": "./llama-0"}, 2, "needs a layer"),
        ({"--src": "./llama-0@middle"}, 2, "'middle' is not a site"),
        ({"--src": "./llama-9@1"}, 2, "There is no file or folder"),
        ({"--src": "smollm2-135m"}, 3, "not on this machine, and the hub cannot be reached"),
        ({"--src": "someone/else@1"}, 3, "models/someone/else"),
        ({"--src": DST}, 2, "are the same model at the same layer"),
        ({"--map": "rigde"}, 2, "There is no map rigde. Did you mean ridge?"),
        ({"--map": "ridge:alpha=1"}, 2, "ridge has no option alpha. It has penalty."),
        ({"--map": "ridge:penalty=much"}, 2, "penalty: Input should be a valid number"),
        ({"--map": "ridge:penalty=-1"}, 1, "The ridge penalty -1 is invalid"),
        ({"--map": "identity"}, 1, "needs equal widths, and these models have 32 and 40. Choose ridge or procrustes."),
        ({"--device": "abacus"}, 2, "There is no device abacus"),
        ({"--folds": "1"}, 2, "folds: Input should be greater than or equal to 2"),
        ({"--require": "ev>0.3"}, 2, "Use for example --require 'ev>=0.3'."),
        ({"--corpus": "nowhere.txt"}, 1, "There is no corpus nowhere.txt."),
        ({"--corpus": "empty.txt"}, 1, "has no text"),
        ({"--corpus": "binary.txt"}, 1, "is binary, not text"),
        ({"--corpus": "latin1.txt"}, 1, "not UTF-8 text (byte 3)"),
        ({"--corpus": "small.txt"}, 1, "has 2 independent documents: too few for 5 folds"),
        ({"--max-documents": "30", "--max-tokens": "10"}, 1, "models of width 40 need at least 80 for a fit"),
    ],
)
def test_refusals(changes: dict[str, str], code: int, said: str, lab: Lab, tmp_path: Path) -> None:
    corpora = {
        "empty.txt": b"\n \n",
        "binary.txt": b"PK\x03\x04\0\0",
        "latin1.txt": "Caf\xe9".encode("latin-1"),
        "small.txt": b"One.\n\nTwo.\n",
    }
    for name, content in corpora.items():
        (tmp_path / name).write_bytes(content)
    if changes.get("--corpus") in corpora:
        changes = {"--corpus": str(tmp_path / changes["--corpus"])}
    arguments = [*lab.args(), *(part for change in changes.items() for part in change), "--out", tmp_path / "out"]
    found, out, err = call("run", *arguments)
    message = paragraph(err)
    assert (found, out) == (code, ""), message
    assert said in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('src = "./llama-0@1"\ndst = \n', "is not a readable TOML file (Invalid value (at line 2, column 7))"),
        (
            'src = "./llama-0@1"\ndst = "./gemma-0@1"\nlayer = 3\n',
            "layer: no such option. Known options: src, dst, map",
        ),
        ('src = "./llama-0@1"\ndst = "./gemma-0@1"\nfolds = "many"\n', "folds: Input should be a valid integer"),
        ('src = "./llama-0@1"\n', "Two models are needed."),
    ],
)
def test_experiment_files_that_are_wrong(text: str, said: str, lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    for command in ("run", "fit", "sweep"):
        code, out, err = call(command, path, "--out", tmp_path / "out")
        assert (code, out) == (2, "")
        assert said in paragraph(err)


def test_damaged_checkpoints(lab: Lab, tmp_path: Path) -> None:
    def damaged(what: str) -> Path:
        path = tmp_path / what
        shutil.copytree(lab.models / "llama-0", path)
        return path

    shard = sorted((lab.models / "llama-0").glob("*.safetensors"))[-1].name
    truncated, lacking, renamed, halved = map(damaged, ("truncated", "lacking", "renamed", "halved"))
    (truncated / shard).write_bytes((truncated / shard).read_bytes()[:-64])
    (lacking / "tokenizer.json").unlink()
    (renamed / shard).rename(renamed / "other.safetensors")
    (halved / "config.json").write_text('{"model_type":')
    for path in (truncated, lacking, renamed, halved):
        code, _, err = call("run", *lab.args(f"{path}@1"), "--out", tmp_path / "out")
        message = paragraph(err)
        assert code == 1, message
        assert str(path) in message
        assert "hub" not in message, "the files are here: the hub has nothing to do with it"
    assert not (tmp_path / "out").exists()


def test_damaged_bridges(lab: Lab, tmp_path: Path) -> None:
    other = tmp_path / "other"
    succeed("fit", *lab.args(), "--map", "procrustes", "--out", other)

    def refused(change: Any, said: str, kind: type[BridgeError] = BridgeError) -> None:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(lab.run, tmp_path / "copy")
        change(tmp_path / "copy")
        with pytest.raises(kind, match=said):
            bridge.load(tmp_path / "copy")
        code, _, err = call("transfer", "directions", tmp_path / "copy", "v.safetensors", "--out", tmp_path / "moved")
        assert code == 1
        assert said in paragraph(err)

    arrays, record = "bridge.safetensors", "bridge.json"
    is_not = "is not the file that was written"
    refused(lambda f: (f / arrays).write_bytes((f / arrays).read_bytes()[:-8]), is_not, CorruptArtifactError)
    refused(lambda f: (f / arrays).rename(f / "renamed.safetensors"), f"{arrays} is missing", CorruptArtifactError)
    refused(lambda f: shutil.copy(other / arrays, f / arrays), is_not, CorruptArtifactError)
    refused(
        lambda f: bind(f, lambda record: record | {"schema": 99}),
        "has schema 99; this version of bridge reads schema 1",
    )
    refused(lambda f: bind(f, lambda record: record | {"d_src": 33}), "has other widths than its", CorruptArtifactError)
    refused(lambda f: (f / record).write_text("{"), f"{record} is not the file", CorruptArtifactError)
    refused(lambda f: (f / record).unlink(), "bridge.json cannot be read. The file does not exist. Give a folder")
    refused(lambda f: write_sealed(f / record, {"schema": 1}), "bridge.json cannot be read. src: Field required")


def test_nothing_of_others_is_overwritten(lab: Lab, tmp_path: Path) -> None:
    file, folder = tmp_path / "file", tmp_path / "folder"
    file.write_text("mine")
    folder.mkdir()
    (folder / "metrics.json").write_text("mine")
    for command in ("run", "fit", "sweep"):
        for out in (file, folder, file / "below"):
            code, _, err = call(command, *lab.args(), "--out", out)
            assert code == (1 if out.name == "below" else 2), err
            assert "Traceback" not in err
        code, _, err = call(command, *lab.args(), "--seed", "1", "--out", lab.run)
        assert code == 2
        assert "already holds something else" in paragraph(err)
    assert call("sweep", *lab.args(), "--out", lab.run)[0] == 2
    assert (file.read_text(), (folder / "metrics.json").read_text()) == ("mine", "mine")
    assert {path.name for path in folder.iterdir()} == {"metrics.json"}
    assert {path.name for path in lab.run.iterdir()} == FILES


def test_unwritable_cache(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path / "file" / "cache"))
    code, _, err = call("run", *lab.args(), "--out", tmp_path / "out")
    assert code == 1
    message = paragraph(err)
    assert "could not be written" in message
    assert "BRIDGE_CACHE_DIR" in message
    assert (tmp_path / "file").read_text() == "mine"


def test_full_disk_at_any_moment(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_CACHE_DIR", str(tmp_path / "cache"))
    out, really = tmp_path / "out", os.fsync
    left = 0

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        really(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    failures = 0
    for allowed in (0, 18, 2, 2, 2, 1, 1, 1):
        left = allowed
        code, _, err = call("run", *lab.args(), "--out", out)
        if code == 0:
            break
        failures += 1
        assert code == 1
        assert "The disk is full." in paragraph(err)
        assert not list(tmp_path.rglob("*.tmp"))
    left = 1000
    succeed("run", *lab.args(), "--out", out)
    assert failures >= 5
    same_bytes(out, lab.run)


@pytest.fixture(autouse=True)
def nothing_beside_the_models(tiny_models: Mapping[str, list[Path]]) -> Iterator[None]:
    """No test of this file may leave anything in the folder that it runs in."""
    folder = tiny_models["llama"][0].parent
    before = sorted(folder.iterdir())
    yield
    assert sorted(folder.iterdir()) == before
