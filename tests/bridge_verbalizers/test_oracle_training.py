"""Training an activation oracle: it learns to answer from its vectors, and peft reads the adapter that it writes."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bridge.errors import BridgeError, UsageError
from bridge.models import LoadedModel, Placement
from bridge.pipeline.plan.runtime import open_runtime
from bridge.progress import Silent
from bridge.readers import kind_of
from bridge.references import Site
from bridge.verbalizers import Passage, Recipe, Subject
from bridge_verbalizers.formats.activation_oracle import ActivationOracle
from bridge_verbalizers.formats.oracle_questions import AFTER, BEFORE, WORD, gather_questions
from planted import WORDS, planted_passages

RECIPE = Recipe(steps=320, batch=8, rank=16, lr=1e-2, characters=8, reconstructor=False)
Oracle = kind_of(ActivationOracle())


class Planted(Subject):
    """A tiny Llama whose "activations" are a known direction for each word."""

    site, seed, name = Site(1), 0, "planted@1"
    placement = Placement("cpu", "float32")

    def __init__(self, folder: Path) -> None:
        runtime = open_runtime()
        tiny = runtime.registry.models["llama"].write_tiny_checkpoints(folder / "tiny")[0]
        model = runtime.resolve(f"{tiny}@1")
        loaded = model.adapter.load(model.weights, self.placement)
        for weight in loaded.module.parameters():
            # Random weights write next to nothing into the stream, and a random head cannot prefer any token.
            weight.data *= 30 if weight.shape[0] == loaded.module.config.vocab_size else 9 if weight.ndim == 2 else 1
        base = folder / "base"
        loaded.module.save_pretrained(base)
        loaded.tokenizer.tokenizer.save_pretrained(base)  # type: ignore[attr-defined]
        self.model = runtime.resolve(f"{base}@1")
        self.base, self.d_model, self.n_layers = base, self.model.info.d_model, self.model.info.n_layers
        rng = np.random.default_rng(1)
        self.directions = rng.normal(size=(len(WORDS), self.d_model)).astype(np.float32)

    def load(self) -> LoadedModel:
        return self.model.adapter.load(self.model.weights, self.placement)

    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        return planted_passages(self.directions, 0.05, held_out)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def trained(subject: Planted, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("oracle")
    return out, Oracle().train(subject, RECIPE, out, Silent())


def test_it_answers_from_its_vectors(subject: Planted, trained: tuple[Path, dict[str, Any]]) -> None:
    out, measured = trained
    asked = (WORD, BEFORE, f"{BEFORE} (4 vectors)")
    for question in asked:
        losses = measured[question]
        assert losses["loss"] < min(losses["loss_mean_vector"], losses["loss_other_vector"]) - 0.03, question
    # What comes next is random here: nothing in the vectors can tell.
    assert measured[AFTER]["loss"] > measured[AFTER]["loss_mean_vector"] - 0.1
    oracle = Oracle(checkpoint=str(out), ask=WORD, max_new_tokens=10).open(subject)
    answers = [one.text for one in oracle.explain(subject.directions)]
    assert sum(a == word for a, word in zip(answers, WORDS, strict=True)) >= 3, answers
    assert [one.text for one in oracle.ask([one[None] for one in subject.directions], WORD)] == answers


def test_the_folder_is_a_peft_adapter(subject: Planted, trained: tuple[Path, dict[str, Any]]) -> None:
    """Read by peft itself, it gives the same logits as the engine of this project."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from bridge.models import Placement
    from bridge.readers import Weights
    from bridge.readers.adapters import read_adapter
    from bridge.readers.bodies import Bodies

    out, _ = trained
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(subject.base), out).eval()
    ours = Bodies("", False, Placement("cpu", "float32")).module(Weights(adapter=read_adapter(out)))
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=1e-5, atol=1e-5)
    said = json.loads((out / "ao_config.json").read_text())
    assert said["act_layer_combinations"] == [[1]] and said["hook_onto_layer"] == 1


def test_a_base_that_is_gone_is_named(subject: Planted, trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    shutil.copytree(trained[0], tmp_path / "oracle")
    config = tmp_path / "oracle" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(BridgeError, match=r"base model, .*gone, is not on this machine.*option base"):
        Oracle(checkpoint=str(tmp_path / "oracle"), ask=WORD).open(subject).explain(subject.directions)


def test_folders_that_share_a_name_are_not_one_model(
    subject: Planted, trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    """Unpacked GGUF files all lie in folders called `checkpoint`."""
    shutil.copytree(trained[0], tmp_path / "oracle")
    for name in ("one", "other"):
        shutil.copytree(subject.base, tmp_path / name / "checkpoint")
    config = tmp_path / "oracle" / "adapter_config.json"
    named = {"base_model_name_or_path": str(tmp_path / "one" / "checkpoint")}
    config.write_text(json.dumps(json.loads(config.read_text()) | named))
    oracle, other = str(tmp_path / "oracle"), str(tmp_path / "other" / "checkpoint")
    with pytest.raises(BridgeError, match=r"one/checkpoint, and the option base names .*other/checkpoint"):
        Oracle(checkpoint=oracle, ask=WORD, base=other).open(subject).explain(subject.directions)
    allowed = Oracle(checkpoint=oracle, ask=WORD, base=other, any_base=True).open(subject)
    assert len(allowed.explain(subject.directions)) == len(WORDS)


def test_few_held_out_texts_measure_every_question(subject: Planted, tmp_path: Path) -> None:
    class Short(Planted):
        """Has one held-out activation that has three others before it."""

        def __init__(self) -> None:
            vars(self).update(vars(subject))

        def passages(self, held_out: bool = False) -> Iterator[Passage]:
            for one in super().passages(held_out):
                yield Passage(one.document, one.ends[:4], one.x[:4]) if held_out else one
                if held_out:
                    return

    measured = Oracle().train(Short(), replace(RECIPE, steps=2), tmp_path, Silent())
    assert all(np.isfinite(losses["loss"]) for losses in measured.values()) and len(measured) == 5


def test_the_questions_are_about_the_text_around_a_token(subject: Planted) -> None:
    asked, held_out = gather_questions(subject, replace(RECIPE, characters=20))
    for before, after, word in zip(*(asked.answers[question] for question in (BEFORE, AFTER, WORD)), strict=True):
        assert before.endswith(word) and word in WORDS
        assert set(after.split()) <= set(WORDS)
    assert asked.x.shape[1:] == (4, subject.d_model) == held_out.x.shape[1:]
    nearest = (asked.x[:, -1] @ subject.directions.T).argmax(1)
    assert [WORDS[row] for row in nearest] == asked.answers[WORD]


def test_what_an_oracle_has_not_is_refused(subject: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="added vectors only"):
        Oracle().train(subject, replace(RECIPE, inject="replace"), tmp_path, Silent())
    monkeypatch.setattr(subject, "site", Site(1, "attn_out"))
    with pytest.raises(UsageError, match=r"read outputs of blocks, and 1\.attn_out"):
        Oracle().train(subject, RECIPE, tmp_path, Silent())
