"""A model is checked at load: known again by its logits, and held to what a trained model makes of plain text."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

import bridge
from bridge import errors
from bridge.models import LoadedModel
from small_plugins import Package

WRONG = """
from bridge.hookspecs import hookimpl
from bridge.models import TransformersAdapter
from bridge.models.layout import sequential


class Wrong(TransformersAdapter):
    name = "wrong"
    model_types = ("llama",)

    def layout(self, module):
        layer_norm = "post_attention_layernorm"
        return sequential("model.layers", attn_out="self_attn", resid_mid=layer_norm, mlp_out=layer_norm)

    def tiny_configs(self):
        return []


@hookimpl
def register_models(register):
    register(Wrong())
"""

FEW = {"max_documents": 120, "max_tokens": 48, "corpus": "stories"}


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """As users have it: random models are refused."""
    monkeypatch.delenv("BRIDGE_ALLOW_UNTRAINED")


@pytest.mark.usefixtures("strict")
def test_a_random_model_is_refused_before_and_after_its_activations_are_stored(
    tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    few = FEW
    pair = {"src": f"{tiny_models['llama'][0]}@1", "dst": "tiny-gemma@1"}
    with pytest.raises(errors.ModelError, match=r"perplexity \d+ on plain English: these weights are not a trained"):
        bridge.fit(**pair, **few)
    run = bridge.run(**pair, **few, allow_untrained=True, out=tmp_path / "run")
    report = bridge.write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "Of the models:" in report and "not a trained model" in report
    said = run.bridge.provenance["untrained"]
    assert [line for line in said if "not a trained model" in line and "--allow-untrained" in line and "llama" in line]
    assert "not a trained model" in (tmp_path / "run" / "metrics.json").read_text()
    with pytest.raises(errors.ModelError, match="not a trained model"):
        bridge.fit(**pair, **few)


@pytest.mark.usefixtures("strict")
def test_bundled_models_are_trained_and_are_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.pipeline.plan import self_check

    for name in ("tiny-qwen", "tiny-gemma", "tiny-pythia:seed2", "dyck", "dyck:shared1"):
        assert bridge.doctor(name)[-1].ok, name
        assert "on its own corpus" in bridge.doctor(name)[-1].detail
    monkeypatch.setattr(self_check, "perplexity", lambda *_: pytest.fail("measured again"))
    assert bridge.doctor("tiny-qwen")[-1].ok


@pytest.mark.usefixtures("strict")
def test_doctor_and_dry_run_tell_the_perplexity(tiny_models: Mapping[str, list[Path]]) -> None:
    random = f"{tiny_models['llama'][0]}@1"
    check = bridge.doctor(random)[-1]
    assert not check.ok and "perplexity" in check.detail and "not a trained model" in check.detail
    found = bridge.dry_run(src="tiny-qwen", dst=random)
    assert any("perplexity" in note for note in found["models"]["src"]["notes"])
    assert any("not a trained model" in problem for problem in found["problems"])
    found = bridge.dry_run(src="tiny-qwen", dst=random, allow_untrained=True)
    assert not found["problems"]
    assert any("not a trained model" in note for note in found["models"]["dst"]["notes"])


def test_the_same_weights_with_other_logits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bridge.doctor("tiny-qwen")[-1].ok
    right = LoadedModel.logits
    monkeypatch.setattr(LoadedModel, "logits", lambda *given: right(*given) * (1 + 1e-6))
    assert bridge.doctor("tiny-qwen")[-1].ok
    monkeypatch.setattr(LoadedModel, "logits", lambda *given: right(*given) * 1.01)
    check = bridge.doctor("tiny-qwen")[-1]
    assert not check.ok and "does not give the logits that it gave before" in check.detail
    with pytest.raises(errors.ModelError, match="does not give the logits"):
        bridge.fit(src="tiny-qwen", dst="tiny-gemma", **FEW)


def test_an_encoder_and_a_damaged_record_are_measured_anew(
    tiny_models: Mapping[str, list[Path]], isolated: Path
) -> None:
    assert bridge.doctor("tiny-qwen")[-1].ok
    (record,) = isolated.glob("cache/self-checks/*/*.json")
    record.write_text("{}")
    assert "perplexity" in bridge.doctor("tiny-qwen")[-1].detail
    shutil.rmtree(isolated / "cache" / "self-checks")
    assert bridge.doctor("tiny-qwen")[-1].ok


def test_a_permission_changes_no_key_of_a_fit() -> None:
    from bridge.pipeline.plan.options import make_options
    from bridge.pipeline.plan.plan import prepare
    from bridge.pipeline.plan.runtime import open_runtime

    runtime = open_runtime()
    few = FEW | {"src": "tiny-qwen", "dst": "tiny-gemma"}
    plans = [prepare(make_options(**few, allow_untrained=allowed), runtime) for allowed in (False, True)]
    assert plans[0].key() == plans[1].key()


def test_parts_that_do_not_add_up_are_refused(
    package: Package, tiny_models: Mapping[str, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bridge.doctor(str(tiny_models["llama"][0]))[-1].ok
    package("wrong-family", WRONG, "models.wrong")
    monkeypatch.setenv("BRIDGE_DISABLE_PLUGINS", "models.llama")
    check = bridge.doctor(str(tiny_models["llama"][0]))[-1]
    assert not check.ok and "resid_pre + attn_out + mlp_out is not resid_post" in check.detail
