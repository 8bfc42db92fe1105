"""A family that predicts no next token, the example's: what it can do, and what is refused before anything loads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.dictionaries import SparseAutoencoder, TopK
from bridge.errors import ConformanceError
from bridge.models import Layout, Location, ModelAdapter, Placement, TransformersAdapter, Weights
from bridge.plugins import discover
from bridge.testing import check_model
from bridge.testing.certify import certify
from small_plugins import Package, bridge
from strangers import EXAMPLES

FAMILY = EXAMPLES / "bridge-encoder" / "src" / "bridge_encoder" / "__init__.py"


@pytest.fixture
def encoder(package: Package) -> ModelAdapter:
    package("an-encoder", FAMILY.read_text(encoding="utf-8"), "models.encoder")
    return discover().models["encoder"]


@pytest.fixture
def checkpoint(encoder: ModelAdapter, tmp_path: Path) -> str:
    return f"{encoder.write_tiny_checkpoints(tmp_path / 'tiny')[0]}@1"


@pytest.fixture
def causal(tiny_models: Mapping[str, list[Path]]) -> str:
    return f"{tiny_models['llama'][0]}@1"


@pytest.fixture
def corpus(corpus_file: Path) -> list[str]:
    return ["--corpus", str(corpus_file), "--max-documents", "40", "--max-tokens", "48"]


def refusal(*arguments: object) -> str:
    """Return what a refused command says; it must not have come to loading a model."""
    code, out, err = bridge(*arguments)
    assert (code, out) == (2, "")
    assert "Loading" not in err
    return " ".join(err.split())


def test_steering_needs_a_next_token(
    checkpoint: str, causal: str, corpus: list[str], contrast: Path, tmp_path: Path
) -> None:
    fit = ["--src", causal, "--dst", checkpoint, *corpus, "--dtype", "float32", "--out", tmp_path / "bridge"]
    code, _, err = bridge("fit", *fit)
    assert code == 0, err
    assert "predicts no next token: it is an encoder." in refusal("steer", tmp_path / "bridge", contrast)


@pytest.fixture
def contrast(tmp_path: Path) -> Path:
    path = tmp_path / "contrast.jsonl"
    rows = [{"text": f"It was {word} {i}.", "class": word} for word in ("good", "bad") for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_no_verbalizer_can_be_trained(checkpoint: str, corpus: list[str], tmp_path: Path) -> None:
    train = ["verbalizer", "train", "--model", checkpoint, *corpus, "--out", tmp_path / "av"]
    assert "predicts no next token" in refusal(*train)


def test_an_audit_leaves_out_what_needs_a_loss(checkpoint: str, causal: str, corpus: list[str], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    encode, decode = (rng.normal(size=shape).astype(np.float32) for shape in ((32, 64), (64, 32)))
    zeros = np.zeros(64, np.float32), np.zeros(32, np.float32)
    dictionary = SparseAutoencoder(encode, zeros[0], decode, zeros[1], TopK(4))
    discover().dictionary_formats["saelens"].save(dictionary, tmp_path / "sae")
    pair = ["--src", causal, "--dst", checkpoint, *corpus, "--dictionary", tmp_path / "sae"]
    code, out, err = bridge("audit", *pair, "--json")
    assert code == 0, err
    names = {metric["name"] for metric in json.loads(out)["metrics"]}
    assert "sae_ev" in names
    assert not {name for name in names if "loss" in name}
    assert "predicts no next token, so the loss with a reconstruction is not measured" in " ".join(err.split())


def test_parameters_are_counted_without_a_head(encoder: ModelAdapter, tmp_path: Path) -> None:
    weights = Weights(str(encoder.write_tiny_checkpoints(tmp_path)[0]))
    module = encoder.load(weights, Placement("cpu", "float32")).module
    assert encoder.parameters(weights) == sum(weight.numel() for weight in module.parameters())


def test_verbalizers_are_not_tried_on_what_does_not_speak(
    encoder: ModelAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRIDGE_ONLY_PLUGINS", f"models.{encoder.name}, verbalizers.logit_lens")
    registry = discover()
    assert list(registry.models) == [encoder.name]
    assert "No model family is enabled" in certify(registry, "verbalizers", "logit_lens").skipped


class SaysItIsCausal(TransformersAdapter):
    """BERT with a head for the next token, but without a mask that hides it."""

    name, model_types = "bert_lm", ("bert",)

    def layout(self, module: Any) -> Layout:
        return Layout("bert.encoder.layer", {"resid_post": Location("", "output")})

    def tiny_configs(self) -> list[Any]:
        from transformers import BertConfig

        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
        return [BertConfig(vocab_size=512, **sizes)]


class ContradictsItself(SaysItIsCausal):
    causal = False

    def layout(self, module: Any) -> Layout:
        return Layout("encoder.layer", {"resid_post": Location("", "output")})

    def describe(self, weights: Weights) -> Any:
        return dataclasses.replace(super().describe(weights), causal=True)


@pytest.mark.parametrize(
    ("family", "law"),
    [
        (SaysItIsCausal, "no token of a causal model sees what stands to its right"),
        (ContradictsItself, "whether it is causal"),
    ],
)
def test_what_is_no_causal_model_must_say_so(family: type[TransformersAdapter], law: str, tmp_path: Path) -> None:
    with pytest.raises(ConformanceError, match=law):
        check_model(family(), tmp_path)
