"""Every layout is read as its own library would, written so that it reads back, and refused where it must be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

import dictionary_files as files
from bridge.dictionaries import SparseAutoencoder
from bridge.errors import BridgeError
from bridge.plugins import discover
from dictionary_files import ACTIVATIONS, W, X

FORMATS = discover().dictionary_formats


def reference(kind: str, shift: np.ndarray, threshold: np.ndarray | float = 0.0, k: int = 3) -> np.ndarray:
    """One number at a time, in float64."""
    out = np.zeros((len(X), files.F))
    for i, x in enumerate(X.astype(float) - shift):
        linear = [float(sum(x[d] * W["W_enc"][d, j] for d in range(files.D))) for j in range(files.F)]
        pre = [linear[j] + float(W["b_enc"][j]) for j in range(files.F)]
        for j in range(files.F):
            if kind == "gated":
                on = linear[j] + W["b_gate"][j] > 0
                out[i, j] = on * max(linear[j] * np.exp(W["r_mag"][j]) + W["b_mag"][j], 0)
            elif kind == "topk":
                out[i, j] = max(pre[j], 0) * (pre[j] in sorted(pre)[-k:])
            else:
                out[i, j] = max(pre[j], 0) * (pre[j] > np.broadcast_to(threshold, files.F)[j])
    return out


NONE = np.zeros(files.D)
T = W["threshold"]


@pytest.mark.parametrize(
    ("name", "options", "want"),
    [
        ("saelens", {}, ("relu", W["b_dec"])),
        ("saelens", {"flat": True, "changes": {"apply_b_dec_to_input": False}}, ("relu", NONE)),
        ("saelens", {"changes": {"architecture": "topk", "k": 3}}, ("topk", W["b_dec"])),
        ("saelens", {"changes": {"architecture": "jumprelu"}}, ("jump", W["b_dec"], T)),
        ("saelens", {"changes": {"architecture": "gated"}}, ("gated", W["b_dec"])),
        ("sparsify", {}, ("topk", W["b_dec"])),
        ("dictionary_learning", {}, ("topk", W["b_dec"])),
        ("dictionary_learning", {"kind": "BatchTopKSAE"}, ("jump", W["b_dec"], 0.5)),
        ("dictionary_learning", {"kind": "JumpReluAutoEncoder"}, ("jump", NONE, T)),
        ("dictionary_learning", {"kind": "GatedAutoEncoder"}, ("gated", W["b_dec"])),
        ("dictionary_learning", {"kind": "AutoEncoder"}, ("relu", W["b_dec"])),
        ("gemma_scope", {}, ("jump", NONE, T)),
        ("gemma_scope_2", {}, ("jump", NONE, T)),
    ],
)
def test_reads(name: str, options: dict, want: tuple, tmp_path: Path) -> None:
    path = files.WRITERS[name](tmp_path / "layers.1", **options)
    assert [fmt for fmt in FORMATS if FORMATS[fmt].recognises(path)] == [name]
    dictionary = FORMATS[name].load(path)
    features = reference(*want)
    np.testing.assert_allclose(dictionary.reconstruct(X), features @ W["W_dec"] + W["b_dec"], rtol=1e-4, atol=1e-4)
    if options.get("kind") == "AutoEncoder":  # its library gives directions length 1
        features = features * np.linalg.norm(W["W_dec"], axis=1)
    np.testing.assert_allclose(dictionary.encode(X), features, rtol=1e-4, atol=1e-4)
    assert dictionary.origin.site


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("shift", [None, W["b_dec"], X[0]], ids=["none", "b_dec", "other"])
def test_saved_saelens_reads_back(activation: object, shift: np.ndarray | None, tmp_path: Path) -> None:
    made = SparseAutoencoder(W["W_enc"], W["b_enc"], W["W_dec"], W["b_dec"], activation, shift=shift)
    FORMATS["saelens"].save(made, tmp_path / "out")
    back = FORMATS["saelens"].load(tmp_path / "out")
    np.testing.assert_allclose(back.encode(X), made.encode(X), atol=1e-4)
    np.testing.assert_allclose(back.reconstruct(X), made.reconstruct(X), atol=1e-4)
    with pytest.raises(BridgeError, match="already exists"):
        FORMATS["saelens"].save(made, tmp_path / "out")


class Runs:
    def __reduce__(self) -> tuple:
        return os.mkdir, ("ran",)


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    learned = files.dictionary_learning(tmp_path / "dl")
    torch.save({"encoder.weight": Runs()}, learned / "ae.pt")
    pickled = files.gemma_scope(tmp_path / "gs")
    np.savez(pickled / "params.npz", W_enc=np.array([Runs()], dtype=object))
    cut = files.saelens(tmp_path / "cut") / "sae_weights.safetensors"
    cut.write_bytes(cut.read_bytes()[:-9])
    bad = tmp_path / "nan"
    files.saelens(bad, b_dec=np.full(files.D, np.nan, np.float32))
    missing = files.sparsify(tmp_path / "missing")
    (missing / "cfg.json").write_text(json.dumps({"k": "three"}))
    for name, path, message in [
        ("dictionary_learning", learned, "state_dict"),
        ("gemma_scope", pickled, "Python objects"),
        ("saelens", cut.parent, "not a readable safetensors"),
        ("saelens", bad, r"sae_weights.safetensors: b_dec holds NaN"),
        ("saelens", files.saelens(tmp_path / "norm", {"normalize_activations": "layer_norm"}), "Fold the scale in"),
        ("saelens", files.saelens(tmp_path / "list", {"metadata": [1]}), "should be of type dict"),
        ("saelens", files.saelens(tmp_path / "none", {"architecture": "topk"}), "has no k"),
        ("sparsify", missing, "k should be of type int"),
        ("sparsify", files.sparsify(tmp_path / "skip", skip_connection=True), "skip_connection"),
    ]:
        with pytest.raises(BridgeError, match=message):
            FORMATS[name].load(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["AutoEncoderTopK", "BatchTopKSAE"])
def test_an_annealed_k_is_refused_as_its_own_loader_does(kind: str, tmp_path: Path) -> None:
    path = files.dictionary_learning(tmp_path / "dl", kind)
    FORMATS["dictionary_learning"].load(path)
    state = torch.load(path / "ae.pt")
    torch.save(state | {"k": torch.tensor(5)}, path / "ae.pt")
    with pytest.raises(BridgeError, match=r"ae\.pt has k = 5, but .*config\.json has 3.*annealed"):
        FORMATS["dictionary_learning"].load(path)


def test_which_reconstruction_of_multi_topk_is_read_is_said(tmp_path: Path) -> None:
    plain = FORMATS["sparsify"].load(files.sparsify(tmp_path / "plain"))
    multi = FORMATS["sparsify"].load(files.sparsify(tmp_path / "multi", multi_topk=True))
    np.testing.assert_array_equal(plain.reconstruct(X), multi.reconstruct(X))
    assert not plain.origin.notes and "with k = 3; the sae_out of sparsify's forward uses 12" in multi.origin.notes[0]


def test_where_gemma_scope_2_belongs(tmp_path: Path) -> None:
    load, write = FORMATS["gemma_scope_2"].load, files.gemma_scope_2
    origin = load(write(tmp_path / "a")).origin
    assert (origin.model, origin.site) == ("google/gemma-3-270m", "blocks.12.hook_resid_post") and origin.prepends_bos
    alone = write(tmp_path / "b")
    (alone / "config.json").unlink()
    assert load(alone / "params.safetensors").origin == origin
    assert load(write(tmp_path / "c", model_name="gemma-v3-12b-it")).origin.model == "google/gemma-3-12b-it"
    for name, changes, said in (
        ("d", {"hf_hook_point_out": "model.layers.12.mlp.output"}, "is a transcoder"),
        ("e", {"type": "crosscoder"}, "is a crosscoder"),
        ("f", {"architecture": "topk"}, "only jump_relu"),
        ("g", {"hf_hook_point_in": "model.layers.3.output", "hf_hook_point_out": None}, "folder of layer 12"),
    ):
        with pytest.raises(BridgeError, match=said):
            load(write(tmp_path / name, **changes))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sparsify", {"matching_pursuit": True}, "matching_pursuit = True"),
        ("sparsify", {"slice_encoder": 4, "multi_topk": True}, "slice_encoder = 4"),
        ("saelens", {"changes": {"reshape_activations": "hook_z"}}, "reshape_activations = 'hook_z'"),
    ],
)
def test_options_that_change_the_forward_pass_are_refused_by_name(
    name: str, options: dict, message: str, tmp_path: Path
) -> None:
    path = files.WRITERS[name](tmp_path / "one", **options)
    with pytest.raises(BridgeError, match=message):
        FORMATS[name].load(path)


def test_a_compiled_dictionary_is_read(tmp_path: Path) -> None:
    plain, compiled = (files.dictionary_learning(tmp_path / name) for name in ("plain", "compiled"))
    state = torch.load(plain / "ae.pt", weights_only=True)
    torch.save({f"_orig_mod.{name}": tensor for name, tensor in state.items()}, compiled / "ae.pt")
    read = [FORMATS["dictionary_learning"].load(path) for path in (plain, compiled)]
    np.testing.assert_array_equal(read[0].encode(files.X), read[1].encode(files.X))
