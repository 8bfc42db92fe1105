"""Options that could have no effect, and requirements that nothing could answer, are refused before work starts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from bridge import explain, run
from bridge.errors import UsageError
from bridge.pipeline.score.thresholds import parse_requirements, refuse_unmeasured
from bridge.plugins import Registry
from bridge.scorers import Need
from small_plugins import bridge

PAIR = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--map", "procrustes", "--max-documents", 300)
LENS = ("--src-verbalizer", "logit_lens", "--dst-verbalizer", "logit_lens")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--src-verbalizer", "logit_lens"), "--src-verbalizer logit_lens is without effect: nothing is explained"),
        (("--dst-verbalizer", "logit_lens"), "--dst-verbalizer logit_lens is without effect"),
        (("--washout", "mean"), "--washout mean is without effect"),
        (("--washout", "contrast"), "--washout contrast is without effect"),
        (("--features", 45), "--features 45 is without effect"),
        (("--features", 8, "--encoder", "lsa"), "--features 8, --encoder lsa are without effect"),
        (("--allow-other-model",), "--allow-other-model is without effect"),
        (("--require", "evv>=0.3"), "No installed scorer measures evv"),
        (("--require", "lift>=0.1"), "lift is not measured in this run. It needs explained features"),
        (("--require", "round_trip_fve>=0"), "It needs explained live activations: give --positions"),
        (("--require", "loss_recovered>=0"), "bridge audit"),
    ],
)
def test_what_has_no_effect_is_refused_before_work_starts(flags: tuple[object, ...], said: str, tmp_path: Path) -> None:
    for dry in ((), ("--dry-run",)):
        code, out, err = bridge("run", *PAIR, *flags, "--out", tmp_path / "run", *dry)
        assert code in ((1, 2) if dry else (2,))
        assert said in " ".join((out + err).split())
        assert not (tmp_path / "run").exists() and "activations at" not in err


def test_a_file_that_sets_everything_runs_again(tmp_path: Path) -> None:
    assert bridge("run", *PAIR, "--out", tmp_path / "run", "--require", "retrieval@1>=0", "--quiet")[0] == 0
    assert bridge("run", tmp_path / "run" / "config.toml", "--dry-run")[0] == 0
    with pytest.raises(UsageError, match="--features 7 is without effect"):
        run("dyck:seed0@1", "dyck:seed1@1", features=7)


def test_scorers_that_do_not_list_what_they_measure_are_trusted(registry: Registry) -> None:
    wanted = parse_requirements(["mine>=1", "lift@none>=0"])
    with pytest.raises(UsageError, match="measures mine"):
        refuse_unmeasured(wanted, registry.scorers, {Need.EXPLANATIONS})

    class Silent:
        measures = ()

    refuse_unmeasured(wanted, {**registry.scorers, "silent": Silent()}, {Need.EXPLANATIONS})  # type: ignore[dict-item]


def test_maps_that_need_equal_widths_are_refused_before_models_run(tmp_path: Path) -> None:
    pair = ("--src", "tiny-qwen", "--dst", "tiny-gemma", "--map")
    for spec in ("identity", "procrustes:rotation=true"):
        for command in (
            ("run", "--out", tmp_path / "r"),
            ("fit", "--out", tmp_path / "r"),
            ("run", "--dry-run", "--json"),
        ):
            code, out, err = bridge(command[0], *pair, spec, *command[1:])
            assert code == 1 and "activations at" not in err and not (tmp_path / "r").exists()
            said = json.loads(out)["problems"][0] if "--json" in command else " ".join(err.split())
            assert "needs equal widths, and these models have 128 and 112" in said


def test_explain_refuses_what_its_input_does_not_take(tmp_path: Path) -> None:
    pair = ("explain", "--src", "dyck:seed0@1", "--via", "dyck:seed1@1", "--verbalizer", "logit_lens")
    save_file({"v": np.ones(64, np.float32)}, tmp_path / "v.safetensors")
    code, _, err = bridge(*pair, "--text", "(())", "--washout", "mean")
    assert code == 2 and "washout has no effect on texts" in " ".join(err.split())
    code, _, err = bridge(*pair, "--directions", tmp_path / "v.safetensors", "--every", 2)
    assert code == 2 and "every has no effect on directions" in " ".join(err.split())
    with pytest.raises(UsageError, match="no effect on texts"):
        explain("dyck:seed0@1", "dyck:seed1@1", ["(())"], washout=("mean",))


def test_what_does_nothing_beside_live_activations_is_said(tmp_path: Path) -> None:
    flags = ("--src", "tiny-qwen", "--dst", "tiny-gemma", "--max-documents", 120, *LENS)
    code, _, err = bridge("run", *flags, "--positions", 5, "--encoder", "lsa", "--features", 9, "--out", tmp_path / "r")
    assert code == 0 and "--features 9 is without effect: no features are explained" in " ".join(err.split())
