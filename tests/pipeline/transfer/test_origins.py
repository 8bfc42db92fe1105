"""Dictionaries of another model, and of a model whose weights were processed before it was read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

import bridge_toys.dyck
from bridge.errors import BridgeError
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.transfer.dictionaries import check_belongs, open_dictionary
from bridge.pipeline.transfer.origins import has_layer_norm, is_named
from dictionary_files import D, saelens
from small_plugins import bridge

SAE = Path(bridge_toys.dyck.__file__).parent / "checkpoints" / "seed0" / "dictionaries" / "1" / "relu"
PAIR = ("--src", "dyck:seed0@1", "--dst", "dyck:seed1@1", "--map", "procrustes", "--max-documents", 300)
ALLOW = "--allow-other-model"


@pytest.fixture
def llamas(tmp_path: Path) -> Path:
    """A dictionary of the right width and site that says it was trained on Llama."""
    folder = shutil.copytree(SAE, tmp_path / "llamas")
    config = json.loads((folder / "cfg.json").read_text())
    config["metadata"]["model_name"] = "meta-llama/Llama-3.1-8B"
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


def test_a_dictionary_of_another_model_is_refused_unless_allowed(llamas: Path, tmp_path: Path) -> None:
    assert bridge("fit", *PAIR, "--out", tmp_path / "b", "--quiet")[0] == 0
    lens = ("--src-verbalizer", "logit_lens", "--dst-verbalizer", "logit_lens")
    rows = ("--dictionary", llamas, "--features", "1", "--out", tmp_path / "rows")
    commands = {
        "sae": ("transfer", "sae", tmp_path / "b", llamas, "--out", tmp_path / "sae"),
        "rows": ("transfer", "directions", tmp_path / "b", *rows),
        "audit": ("audit", *PAIR, "--dictionary", llamas, "--out", tmp_path / "audit.json"),
        "dry": ("run", *PAIR, "--dictionary", llamas, *lens, "--dry-run"),
    }
    for name, command in commands.items():
        code, out, err = bridge(*command)
        said = " ".join((out + err).split())
        assert code == 1 and "names the model meta-llama/Llama-3.1-8B" in said and "allow_other_model=True" in said, (
            name
        )
        assert not any((tmp_path / left).exists() for left in (name, f"{name}.json"))
        code, out, err = bridge(*command, ALLOW)
        assert code == 0, (name, err)
        assert "names the model meta-llama/Llama-3.1-8B" in " ".join((out + err).split()), name
    assert "Llama" in json.loads((tmp_path / "sae" / "transfer.json").read_text())["notes"][0]
    audited = json.loads((tmp_path / "audit.json").read_text())
    assert "Llama" in audited["bridge"]["pairs"][0]["dictionary_notes"][0]


@pytest.mark.parametrize(
    ("declared", "name", "same"),
    [
        ("google/gemma-2-2b", "gemma2-2b", True),
        ("gpt2-small", "openai-community/gpt2", True),
        ("EleutherAI/pythia-70m-deduped", "/data/Pythia_70m_deduped/", True),
        ("meta-llama/Meta-Llama-3-8B", "Llama-3-8B", True),
        ("Qwen/Qwen2.5-7B-Instruct", "./Qwen2.5-7B-Instruct-Q4_K_M.gguf", True),
        ("tiny-pythia-seed1", "tiny-pythia:seed1", True),
        ("google/gemma-2-2b", "google/gemma-2-2b-it", False),
        ("pythia-70m", "pythia-70m-deduped", False),
        ("dyck:seed0", "dyck:seed1", False),
        ("meta-llama/Llama-3.1-8B", "./mine", False),
    ],
)
def test_names_of_one_model(declared: str, name: str, same: bool) -> None:
    assert is_named(declared, [name]) is same


def test_centred_weights_are_translated(tiny_models: Mapping[str, list[Path]], tmp_path: Path) -> None:
    """Against a model whose weights are centred as TransformerLens does it, through transformers' own forward pass."""
    from transformers import AutoModelForCausalLM

    folder = tiny_models["gpt2"][0]
    ids = torch.arange(1, 25)[None]
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        plain = model(ids, output_hidden_states=True).hidden_states[2][0]
        for name, weight in model.named_parameters():
            if any(part in name for part in ("wte", "wpe", "c_proj")):
                weight -= weight.mean(-1, keepdim=True)
        centred = model(ids, output_hidden_states=True).hidden_states[2][0]
    width = plain.shape[1]
    assert not torch.allclose(plain, centred, atol=1e-3)
    torch.testing.assert_close(plain - plain.mean(-1, keepdim=True), centred, atol=1e-5, rtol=1e-5)

    rng = np.random.default_rng(0)
    shapes = {"W_enc": (width, 20), "W_dec": (20, width), "b_enc": (20,), "b_dec": (width,)}
    weights = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    said = {"model_name": folder.name, "hook_name": "blocks.1.hook_resid_post"}
    options = {"center_writing_weights": True, "fold_ln": True}
    metadata = {"metadata": said | {"model_from_pretrained_kwargs": options}}
    runtime = open_runtime()
    given = open_dictionary(str(saelens(tmp_path / "sae", metadata, **weights)), runtime.registry)
    resolved = runtime.resolve(f"{folder}@1")
    found = check_belongs(given, resolved, resolved.single_site())
    np.testing.assert_allclose(found.encode(plain.numpy()), given.encode(centred.numpy()), atol=1e-4)
    np.testing.assert_allclose(found.reconstruct(plain.numpy()), given.reconstruct(centred.numpy()), atol=1e-4)
    assert not np.allclose(given.encode(plain.numpy()), given.encode(centred.numpy()), atol=1e-2)
    assert "mean over the width is subtracted from activations" in " ".join(found.origin.notes)
    again = check_belongs(found, resolved, resolved.single_site())
    np.testing.assert_array_equal(again.encode(plain.numpy()), found.encode(plain.numpy()))


def test_what_is_known_of_processing(tiny_models: Mapping[str, list[Path]], tmp_path: Path) -> None:
    runtime = open_runtime()

    def opened(name: str, **options: object) -> str:
        said = {"model_name": "tiny", "hook_name": "blocks.1.hook_resid_post", "model_from_pretrained_kwargs": options}
        return " ".join(
            open_dictionary(str(saelens(tmp_path / name, {"metadata": said})), runtime.registry).origin.notes
        )

    assert opened("harmless", fold_ln=True, center_writing_weights=False, dtype="float16", hf_quantizer=None) == ""
    assert "checkpoint revision = step3000" in opened("step", revision="step3000")
    with pytest.raises(BridgeError, match=r"loaded with peft_adapter .*effect on activations is unknown"):
        opened("unknown", peft_adapter="x/y")
    legacy = {"model_name": "gpt2-small", "hook_point": "blocks.1.hook_resid_post"}
    config = open_dictionary(str(saelens(tmp_path / "old", legacy, flat=True)), runtime.registry)
    assert "does not record whether the model's weights were centred" in " ".join(config.origin.notes)

    # TransformerLens leaves RMSNorm models as they are; where neither is known, nothing is guessed.
    said = {"model_name": "llama", "model_from_pretrained_kwargs": {"center_writing_weights": True}}
    path = str(saelens(tmp_path / "rms", {"metadata": said}))
    assert (
        has_layer_norm({"rms_norm_eps": 1e-6}) is False
        and has_layer_norm({"text_config": {"rms_norm_eps": 1}}) is False
    )
    assert has_layer_norm({"layer_norm_epsilon": 1e-5}) is True and has_layer_norm({}) is None
    assert open_dictionary(path, runtime.registry).directions.shape[1] == D
    wide = np.random.default_rng(0).normal(size=(64, 20)).astype(np.float32)
    weights = {"W_enc": wide, "W_dec": wide.T, "b_enc": wide[0], "b_dec": wide[:, 0]}
    toy = {"metadata": {"model_name": "dyck:seed0", "model_from_pretrained_kwargs": {"center_writing_weights": True}}}
    dyck = runtime.resolve("dyck:seed0@1")
    with pytest.raises(BridgeError, match=r"centred weights .* is unknown"):
        check_belongs(
            open_dictionary(str(saelens(tmp_path / "toy", toy, **weights)), runtime.registry), dyck, dyck.single_site()
        )


@pytest.mark.parametrize(("family", "same"), [("llama", True), ("qwen3", True), ("gemma2", False), ("gemma", False)])
def test_a_modules_output_is_a_point_where_nothing_stands_between(
    family: str, same: bool, tiny_models: Mapping[str, list[Path]], tmp_path: Path
) -> None:
    """`layers.1.mlp`, as dictionary_learning, Goodfire and sparsify write it, and `1.mlp_out`."""
    from bridge.dictionaries import Origin, ReLU, SparseAutoencoder
    from bridge.references import parse_site

    runtime = open_runtime()
    model = runtime.resolve(f"{tiny_models[family][0]}@1.mlp_out")
    d = model.info.d_model
    rows = np.random.default_rng(0).normal(size=(8, d)).astype(np.float32)

    def dictionary(site: str) -> SparseAutoencoder:
        made = SparseAutoencoder(rows.T.copy(), np.zeros(8, np.float32), rows, np.zeros(d, np.float32), ReLU())
        made.origin = Origin("", site, None)
        return made

    for site, reader in (("model.layers.1.mlp", "1.mlp_out"), ("blocks.1.hook_mlp_out", "layers.1.mlp")):
        if same:
            assert (
                check_belongs(dictionary(site), model, parse_site(reader, model.info.n_layers)).directions is not None
            )
        else:
            with pytest.raises(BridgeError, match=rf"names the site {site}, but.*Refer to {site}"):
                check_belongs(dictionary(site), model, parse_site(reader, model.info.n_layers))
    for wrong in ("layers.0.mlp", "layers.1.self_attn", "layers.1.mlp.down_proj"):
        with pytest.raises(BridgeError, match="names the site"):
            check_belongs(dictionary(wrong), model, parse_site("1.mlp_out", model.info.n_layers))
