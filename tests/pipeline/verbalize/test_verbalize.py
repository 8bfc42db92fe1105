"""Features explained across a bridge, and one model read by another's verbalizer, through the command line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from safetensors.numpy import load_file, save_file

import bridge
import bridge_toys.dyck
from bridge.cli import bridge as command
from bridge.errors import UsageError
from bridge.features import features_for
from bridge.geometry import fraction_of_variance_explained, nrm_variance_explained
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.transfer.arms import carry_directions
from bridge.pipeline.verbalize.find import find_verbalizer
from bridge.pipeline.verbalize.round_trip import cosine

SAE = Path(bridge_toys.dyck.__file__).parent / "checkpoints/seed0/dictionaries/1/relu"
PAIR = ("--src", "dyck:seed0@1", "--max-documents", "800", "--map", "procrustes")
LENS = "logit_lens:top=2"


def call(*arguments: str) -> Result:
    return CliRunner().invoke(command, [*arguments, "--quiet"])


def experiment(out: Path, encoder: Path, *flags: str) -> Result:
    lenses = ("--src-verbalizer", LENS, "--dst-verbalizer", LENS, "--washout", "mean", "--washout", "none")
    sizes = ("--dictionary", str(SAE), "--features", "12", "--encoder", str(encoder))
    return call("run", *PAIR, "--dst", "dyck:seed1@1", *lenses, *sizes, "--out", str(out), "--json", *flags)


def promoted(explanation: Mapping[str, str]) -> set[str]:
    """The tokens that a lens names before those that are suppressed."""
    return set(re.findall(r'"[^"]*"', explanation["text"].partition("; suppresses")[0]))


def test_features_are_explained_by_both_models(tmp_path: Path, tiny_encoder: Path) -> None:
    out = tmp_path / "run"
    result = json.loads(experiment(out, tiny_encoder).stdout)
    names = {(metric["name"], metric["arm"]) for metric in result["metrics"] if metric["scorer"] == "lift"}
    assert {("lift", "mapped"), ("lift", "random_direction"), ("lift@none", "mapped"), ("flagged", "native")} <= names
    told = [json.loads(line) for line in (out / "explanations.jsonl").read_text().splitlines()]
    assert len(told) == 2 * 12 and {one["washout"] for one in told} == {"mean", "none"}
    chosen = [one["feature"] for one in told[:12]]
    assert features_for("reporting", 256)[chosen].all() and result["bridge"]["verbalized"]["features"] == chosen
    # The two networks compute the same: through the map, the foreign lens promotes what the own one promotes. In
    # which order is left to rounding.
    bare = [one for one in told if one["washout"] == "none"]
    agreed = {
        arm: np.mean([len(promoted(one["native"]) & promoted(one["foreign"][arm])) / 2 for one in bare])
        for arm in ("mapped", "mispaired")
    }
    assert agreed["mapped"] > agreed["mispaired"] + 0.3
    kept = load_file(out / "scored.safetensors")
    assert kept["similarity.mean.mapped"].shape == (12, 12)
    directions = load_file(out / "directions.safetensors")
    for arm in result["bridge"]["verbalized"]["arms"]:
        lengths = np.linalg.norm(directions[arm], axis=1)
        np.testing.assert_allclose(lengths, np.linalg.norm(directions["mapped"], axis=1), rtol=1e-5)
    again = json.loads(experiment(tmp_path / "again", tiny_encoder).stdout)
    assert again["metrics"] == result["metrics"]
    assert call("run", str(out / "config.toml"), "--out", str(out)).exit_code == 0


def test_arms_differ_in_direction_alone() -> None:
    b = bridge.fit("dyck:seed0@1", "dyck:seed1@1", max_documents=800, map="procrustes")
    vectors = np.random.default_rng(0).normal(size=(5, 64)).astype(np.float32)
    moved = carry_directions(vectors, {"mapped": b.fitted}, seed=3)
    for row, vector in enumerate(vectors):
        expected = b.fitted.direction(vector[None])[0]
        np.testing.assert_allclose(moved["mapped"][row], expected, rtol=1e-5)
        other = moved["random_direction"][row]
        assert np.linalg.norm(other) == pytest.approx(np.linalg.norm(expected), rel=1e-5)
        assert abs(cosine(other[None], expected[None].astype(np.float32))[0]) < 0.6


def test_a_model_is_read_by_anothers_verbalizer() -> None:
    text = "([{}])([{}])([{}])"
    flags = ("--verbalizer", LENS, "--text", text)
    foreign = json.loads(call("explain", *PAIR, "--via", "dyck:seed1@1", *flags, "--json").stdout)
    assert [one["token"] for one in foreign["readings"]] == list(text)
    own = json.loads(call("explain", *PAIR, "--via", "dyck:seed0@1", *flags, "--json").stdout)
    # The first eight tokens of a text are left out of every fit, and cannot be expected to transfer.
    told = [[one["explanation"] for one in result["readings"][8:]] for result in (foreign, own)]
    same, other = (np.mean([a == b for a, b in zip(told[0], np.roll(told[1], k), strict=True)]) for k in (0, 1))
    assert same > other + 0.25
    assert foreign["fve"] is None
    shown = call("explain", *PAIR, "--via", "dyck:seed1@1", *flags, "--every", "4")
    assert shown.exit_code == 0 and "no reconstructor" in shown.stdout
    readings = bridge.explain("dyck:seed0@1", "dyck:seed0@1", [text], every=5, dst_verbalizer=LENS, max_documents=800)
    assert [one.position for one in readings.readings] == [3, 8, 13, 18]


def test_directions_are_explained(tmp_path: Path) -> None:
    rows = load_file(SAE / "sae_weights.safetensors")["W_dec"][:3]
    save_file({"rows": rows}, tmp_path / "rows.safetensors")
    flags = ("--via", "dyck:seed1@1", "--verbalizer", LENS, "--washout", "none", "--directions")
    result = json.loads(call("explain", *PAIR, *flags, str(tmp_path / "rows.safetensors"), "--json").stdout)
    assert [one["text"] for one in result["readings"]] == ["rows[0]", "rows[1]", "rows[2]"]
    save_file({"rows": rows[:, :-1].copy()}, tmp_path / "narrow.safetensors")
    assert "63" in str(call("explain", *PAIR, *flags, str(tmp_path / "narrow.safetensors")).exception)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--text", "()"), "bridge verbalizer train --model"),
        (("--text", "()", "--verbalizer", "logit_lense"), "logit_lens"),
        (("--text", "()", "--verbalizer", "nla:checkpoint=nowhere"), "nowhere"),
        (("--verbalizer", LENS), "--text"),
        (("--text", "", "--verbalizer", LENS), "no tokens"),
    ],
)
def test_what_cannot_be_explained_is_said(flags: tuple[str, ...], said: str) -> None:
    assert said in str(call("explain", *PAIR, "--via", "dyck:seed1@1", *flags).exception)


def test_too_many_features_or_no_judge(tmp_path: Path, tiny_encoder: Path) -> None:
    assert "--features" in str(experiment(tmp_path / "a", tiny_encoder, "--features", "500").exception)
    missing = experiment(tmp_path / "b", tmp_path / "nowhere")
    assert "--encoder" in str(missing.exception) and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--dictionary", "nowhere"), "nowhere"),
        (("--dst-verbalizer", "nla:checkpoint=gone"), "gone"),
        (("--washout", "bleach"), "bleach"),
        (("--encoder", "no-such-encoder"), "--encoder"),
    ],
)
def test_what_is_missing_is_found_before_any_model_runs(
    flags: tuple[str, str], said: str, isolated: Path, tmp_path: Path, tiny_encoder: Path
) -> None:
    assert said in str(experiment(tmp_path / "run", tiny_encoder, *flags).exception)
    assert not list((isolated / "cache").glob("activations/*/*.safetensors"))


def test_a_models_own_verbalizer_lies_with_its_weights(tmp_path: Path) -> None:
    runtime = open_runtime()
    folder = runtime.resolve("dyck:seed0@1").weights.folder
    assert folder is not None
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    runtime.registry.reader_formats["nla"].example(copy / "verbalizers/1")
    named, _ = find_verbalizer("", runtime.resolve(f"{copy}@1"), "x", runtime.registry)
    assert named == f"nla:checkpoint={copy / 'verbalizers/1'}"
    for site in ("0", "1.resid_mid"):
        with pytest.raises(UsageError):
            find_verbalizer("", runtime.resolve(f"{copy}@{site}"), "x", runtime.registry)


def test_round_trip_scores_against_the_mean() -> None:
    rng = np.random.default_rng(0)
    mean = 5 * rng.normal(size=(1, 16)).astype(np.float32)
    x = (mean + rng.normal(size=(40, 16))).astype(np.float32)
    assert fraction_of_variance_explained(x, 3 * x, mean) == pytest.approx(1)
    assert fraction_of_variance_explained(x, np.repeat(mean, 40, 0), mean) == pytest.approx(0)
    assert fraction_of_variance_explained(x, x[::-1].copy(), mean) < 0
    # compute_predict_mean_baselines of the released code: fve_nrm_meannorm and fve_nrm, with the rows' own mean.
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    found = (x + rng.normal(size=x.shape)).astype(np.float32)
    error = np.square(units - found / np.linalg.norm(found, axis=1, keepdims=True)).mean()
    own = units.mean(0)
    raw, normed = (np.square(units - one).mean() for one in (own, own / np.linalg.norm(own)))
    assert nrm_variance_explained(x, found, x) == pytest.approx(1 - error / raw)
    assert fraction_of_variance_explained(x, found, own[None]) == pytest.approx(1 - error / normed)
    assert nrm_variance_explained(x, found, x) < fraction_of_variance_explained(x, found, own[None])
