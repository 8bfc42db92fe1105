"""`bridge plugins check --model`: the laws of a family on the weights that a user has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from small_plugins import Package, bridge

WRONG = """
from bridge.hookspecs import hookimpl
from bridge.models import TransformersAdapter
from bridge.models.layout import sequential
from bridge_models.llama import Llama


class Wrong(TransformersAdapter):
    name = "wrong"
    model_types = ("llama",)

    def layout(self, module):
        return sequential("model.layers", attn_out="self_attn", resid_mid="mlp", mlp_out="mlp")

    def tiny_configs(self):
        return Llama().tiny_configs()


@hookimpl
def register_models(register):
    register(Wrong())
"""


def check(*arguments: object, code: int) -> dict[str, Any]:
    found, out, err = bridge("plugins", "check", *arguments, "--json")
    assert found == code, err + out
    return dict(json.loads(out)["checked"][0])


def test_a_bundled_model_keeps_its_laws() -> None:
    found = check("--model", "tiny-qwen", code=0)
    assert (found["name"], found["outcome"]) == ("qwen on tiny-qwen", "ok")
    assert len(found["laws"]) >= 14 and all(law["holds"] and law["tried"] for law in found["laws"])
    code, out, _ = bridge("plugins", "check", "qwen", "--model", "tiny-qwen")
    assert code == 0 and "qwen on tiny-qwen" in out


def test_the_law_that_is_broken_is_named(
    package: Package, tiny_models: Mapping[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    package("wrong-family", WRONG, "models.wrong")
    monkeypatch.setenv("BRIDGE_DISABLE_PLUGINS", "models.llama")
    found = check("--model", tiny_models["llama"][0], code=1)
    assert (found["name"].partition(" ")[0], found["outcome"]) == ("wrong", "broken")
    broken = [law["law"] for law in found["laws"] if not law["holds"]]
    assert broken == ["resid_mid = resid_pre + attn_out"]


def test_what_cannot_be_tried_is_refused(tiny_models: Mapping[str, list[Path]]) -> None:
    code, _, err = bridge("plugins", "check", "gemma", "--model", "tiny-qwen")
    assert code == 2 and "belongs to the family qwen, not to gemma" in err
    assert bridge("plugins", "check")[0] == 2
    assert bridge("plugins", "check", "--model", "tiny-qwen", "--file", str(tiny_models["qwen"][0]))[0] == 2
    found = check("--model", "smollm2-135m", code=2)
    assert found["outcome"] == "skipped" and "not on this machine" in found["reason"]
