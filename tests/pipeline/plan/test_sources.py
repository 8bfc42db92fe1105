"""Sources of activations: a stranger's source serves a run, is compared with transformers, and is refused in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bridge
from bridge import errors
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import open_runtime
from bridge.store import Store
from small_plugins import Package
from small_plugins import bridge as command

SOURCE = '''
"""A source for tests: the family's model, changed in one way."""
import os
from contextlib import contextmanager
from dataclasses import dataclass

from bridge.errors import BridgeError
from bridge.hookspecs import hookimpl
from bridge.references import Site
from bridge.sources import ActivationBackend, need_point

bridge_api = "1.4"


@dataclass(frozen=True)
class Strange(ActivationBackend):
    version: str = "1"
    fault: str = ""
    name = "strange"
    summary = "for this test"

    def check(self, model, sites):
        need_point(self.name, sites, ("resid_post",))
        if self.fault == "refuses":
            raise BridgeError("It is not ready.", remedy="Start it.")
        return [f"{model.name} is read strangely."]

    def identity(self, model):
        if self.fault == "no text":
            return {"version": 1}
        return {} if self.fault == "no identity" else {"strange": self.version}

    @contextmanager
    def open(self, model, sites, placement):
        print("OPEN", model.name, [str(site) for site in sites])
        try:
            yield Changed(model.adapter.load(model.weights, placement), self.fault)
        finally:
            print("CLOSED", model.name)


class Changed:
    def __init__(self, model, fault):
        self.name, self.d_model, self.encode, self.model, self.fault = (
            model.name, model.d_model, model.encode, model, fault
        )
        self.vocabulary = 512

    def losses(self, texts):
        import numpy as np

        return [np.full(len(text) - 1, 9.0 if self.fault == "guesses" else 1.0) for text in texts]

    def activations(self, ids, mask, sites):
        if self.fault == "next block":
            sites = [Site(site.layer + 1) for site in sites]
        found = self.model.activations(ids, mask, sites)
        if self.fault == "dies" and ids.shape[0] > 1:
            raise BridgeError("The service went away.", remedy="Start it again.")
        return [one.roll(1, 1) for one in found] if self.fault == "shifted" else found


@hookimpl
def register_activation_sources(register):
    register(Strange)
'''

FEW = {"max_documents": 120, "max_tokens": 48, "corpus": "stories", "map": "procrustes"}
PAIR = {"src": "tiny-qwen@1", "dst": "tiny-gemma@1"}


@pytest.fixture
def strange(package: Package) -> None:
    package("strange-source", SOURCE, "activation_sources.strange")


def test_keys_of_the_default_are_as_before_and_of_others_differ(monkeypatch: pytest.MonkeyPatch, strange: None) -> None:
    recipes: list[tuple[str, Mapping[str, Any]]] = []
    artifact = Store.artifact

    def record(self: Store, kind: str, recipe: Mapping[str, Any]) -> Any:
        recipes.append((kind, recipe))
        return artifact(self, kind, recipe)

    monkeypatch.setattr(Store, "artifact", record)
    bridge.fit(**PAIR, **FEW, dst_activations="strange:version=2")
    src, dst = (recipe for kind, recipe in recipes if kind == "activations")
    known = {"model", "site", "point", "corpus", "shard_characters", "dtype", "max_tokens", "batch", "device"}
    assert set(src) == known | {"transformers"}
    assert set(dst) == known | {"transformers", "source"}
    assert dst["source"] == {"source": "strange", "strange": "2"}
    runtime = open_runtime()
    keys = [
        prepare(make_options(**PAIR, **FEW, **more), runtime).key()
        for more in (
            {},
            {"src_activations": "transformers"},
            {"src_activations": "strange"},
            {"dst_activations": "strange"},
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_a_run_on_a_strangers_source(tmp_path: Path, strange: None) -> None:
    flags = ["--src", "tiny-qwen@1", "--dst", "tiny-gemma@1", "--map", "procrustes", "--corpus", "stories"]
    flags += ["--max-documents", 120, "--max-tokens", 48, "--dst-activations", "strange"]
    code, out, err = command("run", *flags, "--out", tmp_path / "run")
    said = " ".join((out + err).split())
    assert code == 0, said
    assert "tiny-gemma is read strangely." in said
    assert "OPEN tiny-gemma ['1']" in said and "CLOSED tiny-gemma" in said and "OPEN tiny-qwen" not in said
    assert "tiny-gemma@1 from strange: differs from transformers by 0 (median over 64 tokens" in said
    record = json.loads((tmp_path / "run" / "bridge.json").read_text())["provenance"]
    assert "activations" not in record["src"]
    assert record["dst"]["activations"]["strange"] == "1"
    assert any("differs from transformers by 0" in note for note in record["dst"]["activations"]["notes"])
    assert record["options"]["dst_activations"] == "strange"
    # The same activations and the same numbers, from the other place.
    plain = bridge.fit(**PAIR, **FEW)
    mine = bridge.load(tmp_path / "run")
    x = np.random.default_rng(0).normal(size=(5, plain.fitted.d_src)).astype(np.float32)
    assert np.allclose(mine(x), plain(x), rtol=1e-5, atol=1e-5)
    code, out, err = command("run", *flags, "--out", tmp_path / "again")
    assert "OPEN" not in out + err and "are in the cache" in err


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("next block", r"gives (other )?activations (of|for) tiny-gemma@1"),
        ("shifted", "gives other activations of tiny-gemma@1 than from transformers: they differ by"),
        ("guesses", "not a trained model"),
        ("no identity", "does not say what decides its bits"),
        ("no text", "not Mapping of str"),
        ("refuses", "It is not ready"),
        ("dies", "The service went away"),
    ],
)
def test_a_source_that_is_wrong_is_found(
    fault: str, what: str, strange: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("BRIDGE_ALLOW_UNTRAINED", raising=False)
    with pytest.raises(errors.BridgeError, match=what):
        bridge.fit(**PAIR, **FEW, dst_activations=f"strange:fault={fault}")
    printed = capsys.readouterr()
    opened = (printed.out + printed.err).count("OPEN")
    assert (printed.out + printed.err).count("CLOSED") == opened


def test_sites_and_names_are_refused_before_anything_is_loaded(strange: None, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = ["--src", "tiny-qwen@1.attn_out", "--dst", "tiny-gemma@1", "--src-activations", "strange"]
    code, out, _ = command("run", *flags, "--dry-run", "--json")
    assert code == 1
    (problem,) = json.loads(out)["problems"]
    assert "does not serve the site 1.attn_out" in problem and "transformers, which serves every site" in problem
    load: Callable[..., Any] = lambda *_: pytest.fail("loaded")  # noqa: E731
    monkeypatch.setattr("bridge.models.transformers_adapter.load_whole", load)
    code, _, err = command("fit", *flags, "--out", "x")
    assert code == 2 and "does not serve the site 1.attn_out" in " ".join(err.split())
    code, _, err = command("fit", *flags[:-1], "strnge", "--out", "x")
    assert code == 2 and "There is no source of activations strnge" in err and "strange" in err
    code, _, err = command("fit", *flags[:-1], "strange:speed=2", "--out", "x")
    assert code == 2 and "strange has no option speed" in err


def test_a_rehearsal_says_that_a_source_was_not_tried(strange: None) -> None:
    found = bridge.rehearse(**PAIR, **FEW, src_activations="strange:version=3")
    assert found.finished, found
    assert any("The source of activations strange was not tried" in sentence for sentence in found.unchecked)
