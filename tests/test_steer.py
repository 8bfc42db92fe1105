"""Steering vectors across models, through the command line, on the shipped toy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import bridge_models.dyck
from bridge.cli import bridge
from bridge.errors import CorpusError

CONTRASTS = Path(bridge_models.dyck.__file__).parent / "contrasts"


def fit(src: str, dst: str, out: Path) -> Path:
    flags = ["--src", src, "--dst", dst, "--map", "procrustes:scaled=false", "--max-documents", "600"]
    result = CliRunner().invoke(bridge, ["fit", *flags, "--out", str(out), "--quiet"], catch_exceptions=False)
    assert result.exit_code == 0
    return out


def steer(folder: Path, contrast: Path, *flags: str) -> dict[str, object]:
    arguments = ["steer", str(folder), str(contrast), "--json", "--quiet", *flags]
    return json.loads(CliRunner().invoke(bridge, arguments, catch_exceptions=False).stdout)


@pytest.mark.parametrize("contrast", ["full-half", "round-square"])
def test_mapped_vectors_steer_where_raw_and_random_ones_do_not(contrast: str, tmp_path: Path) -> None:
    folder = fit("dyck:seed0@1", "dyck:seed1@1", tmp_path / "bridge")
    found = steer(folder, CONTRASTS / f"{contrast}.jsonl", "--dose", "1", "--prompt", "([{", "--new-tokens", "4")
    metrics = {(m["name"], m["arm"]): m for m in found["metrics"]}
    shift = {arm: metrics["log_odds_shift@1", arm] for arm in ("native", "mapped", "raw", "random_direction")}
    assert shift["mapped"]["low"] > max(shift["raw"]["high"], shift["random_direction"]["high"])
    assert 0.95 < metrics["transfer_ratio@1", "mapped"]["value"] < 1.05
    assert metrics["transfer_ratio@1", "native"]["value"] == 1
    assert metrics["log_odds_shift@1", "mapped"]["control"] == "random_direction"
    (texts,) = found["generated"]
    assert texts["plain"].startswith("}") and set(texts) == {"prompt", "plain", *shift}


def test_raw_vectors_work_between_models_that_share_input_and_output_weights(tmp_path: Path) -> None:
    folder = fit("dyck:shared0@1", "dyck:shared1@1", tmp_path / "bridge")
    found = steer(folder, CONTRASTS / "round-square.jsonl", "--dose", "1")
    ratio = {m["arm"]: m["value"] for m in found["metrics"] if m["name"] == "transfer_ratio@1"}
    assert 0.95 < ratio["raw"] < 1.05 and ratio["random_direction"] < 0.5


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([json.dumps({"text": str(i), "class": "a"}) for i in range(40)], "two classes"),
        ([json.dumps({"text": str(i), "class": "ab"[i == 0]}) for i in range(40)], "two classes"),
        (["no json"], "not a readable contrast set"),
        (['{"text": 3, "class": "a"}'], "no string"),
    ],
)
def test_a_contrast_set_that_is_none(lines: list[str], said: str, tmp_path: Path) -> None:
    from bridge.contrast import load_contrast

    path = tmp_path / "set.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(CorpusError, match=said):
        load_contrast(path, seed=0)
