"""`bridge plugins check` and the one-line test: which law is broken, with which input, and by how much."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ConformanceError, PluginError
from bridge.testing import conformance
from dictionary_files import WRITERS
from small_plugins import Package, a_map, bridge

DRIFTS = """
        fitted = super().fit(data)
        class Drifts(FittedMap):
            d_src, d_dst = fitted.d_src, fitted.d_dst
            def __call__(self, x):
                return fitted(x) + 0.5 * len(x)
            def direction(self, v):
                return fitted.direction(v).astype(np.float32)
            def arrays(self):
                return fitted.arrays()
        return Drifts()
"""


def check(*arguments: object, code: int = 0) -> list[dict[str, Any]]:
    found, out, err = bridge("plugins", "check", *arguments, "--json")
    assert found == code, err
    return list(json.loads(out)["checked"])


@pytest.mark.parametrize("name", ["ridge", "maps.ridge"])
def test_map_keeps_its_laws(name: str) -> None:
    (one,) = check(name)
    assert (one["kind"], one["name"], one["outcome"], one["reason"]) == ("maps", "ridge", "ok", "")
    assert len(one["laws"]) >= 6
    assert all(law["holds"] and law["tried"] for law in one["laws"])
    code, out, _ = bridge("plugins", "check", name)
    assert code == 0
    assert re.search(r"ok +fitting twice gives the same map +\d", out)


@pytest.mark.parametrize("name", ["cosine", "saelens", "dyck", "logit_lens"])
def test_every_kind_is_tried_on_what_the_machine_has(name: str) -> None:
    (one,) = check(name)
    assert one["outcome"] == "ok"
    assert len(one["laws"]) >= 5


@pytest.mark.parametrize("name", ["tiny-qwen", "stories"])
def test_names_of_models_and_corpora_are_tried(name: str) -> None:
    (one,) = check(name)
    assert one["outcome"] == "ok" and one["laws"]


def test_every_broken_law_is_told_with_its_input_and_by_how_much(package: Package) -> None:
    package("drifts", a_map("drifts", DRIFTS))
    (one,) = check("drifts", code=1)
    assert one["outcome"] == "broken"
    broken = {law["law"]: law for law in one["laws"] if not law["holds"]}
    assert len(broken) >= 1
    law = broken[
        "for x of shape (n, d_src), map(x) has shape (n, d_dst), is finite float64, and maps each row independently"
    ]
    assert law["given"].startswith("rows of 12 dimensions mapped to 12, shape (200, 12), float32")
    assert "dtype float32, not" in law["found"]
    assert any(law["holds"] for law in one["laws"])
    code, out, _ = bridge("plugins", "check", "maps.drifts")
    assert code == 1
    shown = " ".join(out.split())
    assert f"BROKEN: {law['law']}. Given {law['given']}: {law['found']}." in shown
    with pytest.raises(ConformanceError, match=r"maps plugin drifts breaks \d laws(.|\n)*dtype float32, not"):
        conformance("maps", "drifts")()


def test_plugin_that_raises_fails_the_check(package: Package) -> None:
    package("raises", a_map("raises", 'print("hello"); raise ZeroDivisionError("of all things")'))
    (one,) = check("raises", code=1)
    assert one["laws"][-1]["found"] == "ZeroDivisionError: of all things"
    assert not one["laws"][-1]["holds"]


def test_what_cannot_be_tried_is_skipped_and_does_not_pass(tmp_path: Path) -> None:
    # Dictionary formats write an example, or are tried on a file that is given.
    assert [one["outcome"] for one in check("gemma_scope")] == ["ok"]
    (one,) = check("gemma_scope", "--file", WRITERS["gemma_scope"](tmp_path / "scope"))
    assert one["outcome"] == "ok"
    conformance("dictionary_formats", "gemma_scope", tmp_path / "scope" / "layer_12" / "width_16k" / "average_l0_41")()
    (one,) = check("nla_vllm", code=2)
    assert (one["outcome"], one["laws"]) == ("skipped", [])
    assert "checkpoint" in one["reason"]
    _, out, _ = bridge("plugins", "check", "nla_vllm")
    assert out.startswith("verbalizers nla_vllm: SKIPPED. ")
    # A reader format is a verbalizer, too: its description is tried, and a checkpoint of it is not here.
    assert {one["kind"]: one["outcome"] for one in check("nla")} == {"reader_formats": "ok", "verbalizers": "skipped"}
    for name in ("activation_oracle", "easynla", "lora_nla", "oracle_lens"):
        found = {one["kind"]: one["outcome"] for one in check(name)}
        assert found == {"reader_formats": "ok", "verbalizers": "skipped"}, name
    with pytest.raises(pytest.skip.Exception, match="checkpoint"):
        conformance("verbalizers", "nla_vllm")()


def test_names_that_are_not_there_or_broken(package: Package) -> None:
    code, out, err = bridge("plugins", "check", "rigde")
    assert (code, out) == (2, "")
    assert "Did you mean ridge" in " ".join(err.split())
    package("cannot", "import surely_not_there")
    code, _, err = bridge("plugins", "check", "maps.cannot")
    assert code == 1
    assert "surely_not_there" in err
    with pytest.raises(PluginError, match=r"surely_not_there.*pip install -e"):
        conformance("maps", "cannot")()


def test_listing_takes_its_options_as_before() -> None:
    code, out, _ = bridge("plugins", "--kind", "maps", "--json")
    assert code == 0
    assert {plugin["kind"] for plugin in json.loads(out)["plugins"]} == {"maps"}
