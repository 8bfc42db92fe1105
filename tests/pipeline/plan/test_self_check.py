"""A model is checked at load: known again by its logits, and held to what a trained model makes of plain text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
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
    assert not check.ok and "gives other logits than before" in check.detail
    with pytest.raises(errors.ModelError, match="gives other logits"):
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


def contrast(folder: Path) -> Path:
    path = folder / "contrast.jsonl"
    texts = {
        "warm": ("The sun shone on the sand", "Summer came early and"),
        "cold": ("The ice lay on the", "Snow fell all"),
    }
    rows = [{"text": f"{text} {n}", "class": name} for name, some in texts.items() for n in range(6) for text in some]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def loading_commands(folder: Path, built: bridge.Bridge) -> dict[str, Callable[[], object]]:
    """Every command that loads a model whose activations are stored already."""
    pair = {"src": "tiny-gemma@2", "dst": "tiny-qwen@0"}
    few = FEW | {"max_documents": 60}
    recipe, lenses = (
        {"steps": 1, "reconstructor": False},
        dict.fromkeys(("src_verbalizer", "dst_verbalizer"), "logit_lens"),
    )
    return {
        "steer": lambda: bridge.steer(built, contrast(folder)),
        "audit": lambda: bridge.audit(**pair, **few),
        "explain": lambda: bridge.explain(
            "tiny-gemma@2", "tiny-qwen@0", ["A dog ran."], **few, dst_verbalizer="logit_lens"
        ),
        "lens": lambda: bridge.run(**pair, **few, positions=2, encoder="lsa", **lenses),
        "train": lambda: bridge.train_verbalizer("tiny-gemma@2", **few, **recipe, out=folder / "trained"),
    }


def test_every_load_is_checked_once_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bridge.models import TransformersAdapter
    from bridge.pipeline.plan import self_check

    built = bridge.fit(src="tiny-gemma@2", dst="tiny-qwen@0", **FEW | {"max_documents": 60})
    loads, marks = [], []
    load, mark = TransformersAdapter.load, self_check.fingerprint
    monkeypatch.setattr(TransformersAdapter, "load", lambda *given: loads.append(given[1].source) or load(*given))
    monkeypatch.setattr(self_check, "fingerprint", lambda model: marks.append(model.name) or mark(model))
    for name, command in loading_commands(tmp_path, built).items():
        loads.clear(), marks.clear()
        command()
        assert sorted(set(map(str, marks))) == sorted({Path(source).name for source in loads}), name
        assert len(marks) == len(set(loads)) > 0, name
    monkeypatch.setattr(self_check, "fingerprint", mark)
    right = LoadedModel.logits
    monkeypatch.setattr(LoadedModel, "logits", lambda *given: right(*given) * 1.01)
    shutil.rmtree(tmp_path / "trained")
    for name, command in loading_commands(tmp_path, built).items():
        with pytest.raises(errors.BridgeError, match="gives other logits than before"):
            command()
            pytest.fail(name)


def test_models_are_loaded_in_one_place() -> None:
    import bridge.pipeline

    sources = Path(bridge.pipeline.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if "adapter.load(" in path.read_text(encoding="utf-8")] == ["self_check.py"]


@pytest.mark.usefixtures("strict")
def test_steering_an_untrained_model_is_refused_or_said(tiny_models: Mapping[str, list[Path]], tmp_path: Path) -> None:
    random, texts = f"{tiny_models['llama'][0]}@1", contrast(tmp_path)
    for pair in ({"src": random, "dst": "tiny-qwen@0"}, {"src": "tiny-qwen@0", "dst": random}):
        built = bridge.fit(**pair, **FEW, allow_untrained=True)
        with pytest.raises(errors.ModelError, match="not a trained model"):
            bridge.steer(built, texts)
        (note,) = bridge.steer(built, texts, doses=[1], allow_untrained=True).provenance["untrained"]
        assert "llama" in note and "--allow-untrained" in note
