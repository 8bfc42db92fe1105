"""SAELens and sparsify themselves encode and decode as we do (the extra `saelens`, `pytest -m saelens`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import dictionary_files as files
from bridge.dictionaries import Dictionary, SparseAutoencoder
from bridge.plugins import discover
from dictionary_files import ACTIVATIONS, W, X

FORMATS = discover().dictionary_formats

pytestmark = [pytest.mark.saelens, pytest.mark.filterwarnings("default")]


def agree(theirs: torch.nn.Module, ours: Dictionary) -> None:
    with torch.no_grad():
        features = theirs.encode(torch.tensor(X))
        decoded = theirs.decode(features)
    np.testing.assert_allclose(ours.encode(X), features.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.reconstruct(X), decoded.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("applied", [True, False])
@pytest.mark.parametrize("kind", ["standard", "topk", "topk-rescaled", "jumprelu", "gated"])
def test_saelens_reads_as_we_do(kind: str, applied: bool, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    made, config = sae_lens.registry.get_sae_class(kind.split("-")[0])
    options = {"k": 3, "rescale_acts_by_decoder_norm": kind == "topk-rescaled"} if "topk" in kind else {}
    sae = made(config(d_in=files.D, d_sae=files.F, apply_b_dec_to_input=applied, **options))
    sae.load_state_dict({name: torch.tensor(W[name]) for name in sae.state_dict()})
    sae.save_model(tmp_path / "out")
    agree(sae, FORMATS["saelens"].load(tmp_path / "out"))


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: type(a).__name__)
@pytest.mark.parametrize("shift", [None, W["b_dec"], X[0]], ids=["none", "b_dec", "other"])
def test_saelens_reads_what_we_write(activation: object, shift: np.ndarray | None, tmp_path: Path) -> None:
    sae_lens = pytest.importorskip("sae_lens")
    made = SparseAutoencoder(W["W_enc"], W["b_enc"], W["W_dec"], W["b_dec"], activation, shift=shift)
    FORMATS["saelens"].save(made, tmp_path / "out")
    agree(sae_lens.SAE.load_from_disk(tmp_path / "out"), made)


def test_sparsify_reads_as_we_do(tmp_path: Path) -> None:
    sparsify = pytest.importorskip("sparsify")
    path = files.sparsify(tmp_path / "layers.1")
    sae, ours = sparsify.SparseCoder.load_from_disk(path), FORMATS["sparsify"].load(path)
    with torch.no_grad():
        top = sae.encode(torch.tensor(X))
        # Its decoder may be a Triton kernel, which needs a GPU; this is what it computes.
        features = torch.zeros(len(X), files.F).scatter_(1, top.top_indices, top.top_acts)
        decoded = features @ sae.W_dec + sae.b_dec
    np.testing.assert_allclose(ours.encode(X), features.numpy(), atol=1e-4)
    np.testing.assert_allclose(ours.reconstruct(X), decoded.numpy(), atol=1e-4)
