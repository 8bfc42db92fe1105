"""A model explained by its own verbalizer: one model is planned, and what is asked of it is held to as for two."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from small_plugins import bridge

OWN = ("--src", "dyck:seed0@1", "--via", "dyck:seed0@1", "--verbalizer", "logit_lens")
READ = ("--max-documents", 300, "--text", "([")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def explain(*arguments: object) -> tuple[int, str]:
    code, _, err = bridge("explain", *arguments)
    return code, " ".join(err.split())


def test_it_is_read_without_a_map() -> None:
    code, out, err = bridge("explain", *OWN, *READ, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert len(found["readings"]) == 2
    assert found["bridge"]["src"] == found["bridge"]["dst"] == "dyck:seed0@1"


@pytest.mark.parametrize("side", ["src_identity", "dst_identity"])
def test_other_weights_than_were_asked_for_are_refused(side: str) -> None:
    Path("pinned.toml").write_text(f'{side} = "other"\n')
    code, err = explain("pinned.toml", *OWN, *READ)
    assert code == 1 and "differ from the weights that this experiment was made with" in err


def test_a_map_that_does_not_exist_is_refused() -> None:
    code, err = explain(*OWN, *READ, "--map", "nonsense")
    assert code == 2 and "no map nonsense" in err


def test_texts_without_a_row_to_read_are_refused() -> None:
    # Every text is shorter than what is skipped: there is no mean to show a direction against.
    Path("short.jsonl").write_text("".join(json.dumps({"text": f"({n}", "group": str(n)}) + "\n" for n in range(40)))
    save_file({"one": np.ones((1, 64), np.float32)}, "directions.safetensors")
    code, err = explain(*OWN, "--corpus", "short.jsonl", "--directions", "directions.safetensors", "--washout", "mean")
    assert code == 1 and "have no tokens of dyck:seed0@1" in err and "lower --skip" in err
