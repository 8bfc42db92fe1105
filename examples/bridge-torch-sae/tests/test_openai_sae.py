"""The format keeps the laws of its contract, computes what the library computes, and trusts no file."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bridge_torch_sae import OpenAISAE
from checkpoints import LATENTS, D, computed, state, write

from bridge.dictionaries import SparseAutoencoder
from bridge.errors import BridgeError
from bridge.testing import conformance

FORMAT = OpenAISAE()
ROWS = (np.random.default_rng(0).normal(size=(50, D)) * 3 + 7).astype(np.float32)


@pytest.mark.parametrize("kind", ["TopK", "ReLU"])
def test_laws(kind: str, tmp_path: Path) -> None:
    conformance("dictionary_formats", "openai_sae", write(tmp_path / "6.pt", state(kind)))()


@pytest.mark.parametrize("kind", ["TopK", "ReLU", None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_computes_what_the_library_does(kind: str | None, dtype: torch.dtype, tmp_path: Path) -> None:
    values = state("ReLU" if kind is None else kind)
    if kind is None:  # the first releases say nothing, and mean ReLU
        del values["activation"], values["activation_state_dict"]
    half = {name: value.to(dtype) if name.startswith("encoder") else value for name, value in values.items()}
    dictionary = FORMAT.load(write(tmp_path / "a.pt", half))
    values["encoder.weight"] = half["encoder.weight"].float()
    latents, rebuilt = computed(values, ROWS)
    features = dictionary.encode(ROWS)
    np.testing.assert_array_equal(features[:, :LATENTS] > 0, latents > 0)
    np.testing.assert_allclose(dictionary.reconstruct(ROWS), rebuilt, rtol=1e-4, atol=1e-4)
    assert isinstance(dictionary, SparseAutoencoder) == (kind != "TopK")
    if kind == "TopK":
        std = ROWS.std(1, ddof=1)
        np.testing.assert_allclose(features[:, :LATENTS], latents * std[:, None], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(features[:, LATENTS:].T, [std, ROWS.mean(1)], rtol=1e-4)


def test_rows_without_any_spread_come_back(tmp_path: Path) -> None:
    dictionary = FORMAT.load(write(tmp_path / "a.pt", state()))
    np.testing.assert_allclose(dictionary.reconstruct(np.full((1, D), 3, np.float32)), 3, atol=1e-6)


@pytest.mark.parametrize(
    ("place", "site"),
    [
        ("resid_post_mlp_v5_32k/autoencoders/6.pt", "blocks.6.hook_resid_post"),
        ("resid_post_attn_v5_128k/autoencoders/11.pt", "blocks.11.hook_resid_mid"),
        ("resid_delta_mlp_v4/autoencoders/0.pt", "blocks.0.hook_mlp_out"),
        ("resid_delta_mlp/autoencoders/0.pt", "blocks.0.hook_mlp_out"),
        ("resid_delta_attn_v5_32k/autoencoders/3.pt", "blocks.3.hook_attn_out"),
        ("mlp_post_act/autoencoders/3.pt", ""),
        ("downloads/6.pt", ""),
    ],
)
def test_its_place_says_where_it_belongs(place: str, site: str, tmp_path: Path) -> None:
    origin = FORMAT.load(write(tmp_path / place, state())).origin
    assert (origin.site, origin.model) == (site, "gpt2-small" if site else "")


def test_others_files_are_not_its_own(tmp_path: Path) -> None:
    assert FORMAT.recognises(write(tmp_path / "a.pt", state()))
    assert not FORMAT.recognises(write(tmp_path / "a.bin", state()))
    assert not FORMAT.recognises(write(tmp_path / "b.pt", {"encoder.weight": torch.zeros(2, 2)}))
    (tmp_path / "c.pt").write_bytes(b"not an archive")
    (tmp_path / "d.pt").mkdir()
    for path in (tmp_path / "c.pt", tmp_path / "d.pt", tmp_path / "none.pt"):
        assert not FORMAT.recognises(path)


def endless() -> torch.Tensor:
    return torch.zeros(1).as_strided((10**9, D), (0, 0))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"pre_bias": None}, "pre_bias is no plain tensor but NoneType"),
        ({"pre_bias": [0.0] * D}, "pre_bias is no plain tensor but list"),
        ({"latent_bias": torch.zeros(LATENTS, dtype=torch.long)}, r"and is int64 of shape \(20,\)"),
        ({"latent_bias": torch.zeros(LATENTS, 1)}, "1-dimensional"),
        ({"latent_bias": torch.zeros(LATENTS + 1)}, r"encoder bias has shape \(21,\)"),
        ({"pre_bias": torch.zeros(D - 1)}, "has shape"),
        ({"encoder__weight": torch.zeros(LATENTS, D + 1)}, "encoder has shape"),
        ({"encoder__weight": torch.zeros(0, D)}, r"float32 of shape \(0, 6\)"),
        ({"encoder__weight": torch.eye(LATENTS, D).to_sparse()}, "encoder.weight is no plain tensor"),
        ({"encoder__weight": endless()}, "the file holds less of it"),
        ({"decoder__weight": torch.full((D, LATENTS), torch.nan)}, "decoder.weight holds NaN"),
        ({"decoder__weight": torch.full((D, LATENTS), 1e300, dtype=torch.float64)}, "decoder.weight holds NaN"),
        ({"activation": "Identity"}, "activation 'Identity'; ReLU and TopK"),
        ({"activation": 3}, "activation should be a text, and is int"),
        ({"activation_state_dict": None}, "TopK has no k"),
        ({"activation_state_dict": {"k": 21, "postact_fn": "ReLU"}}, "keeps 21 of 20"),
        ({"activation_state_dict": {"k": True, "postact_fn": "ReLU"}}, "keeps True"),
        ({"activation_state_dict": {"k": 3, "postact_fn": "Identity"}}, "followed by Identity"),
    ],
)
def test_what_does_not_fit_is_told(changed: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", state(**changed))
    with pytest.raises(BridgeError, match=said) as told:
        FORMAT.load(path)
    assert str(path) in told.value.what


@pytest.mark.parametrize("values", [[1, 2], torch.zeros(3), "text"])
def test_what_is_no_state_dict_is_told(values: Any, tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="no state dict"):
        FORMAT.load(write(tmp_path / "a.pt", values))


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


def test_no_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "a.pt", state() | {"extra": Bomb()})
    assert FORMAT.recognises(path)
    with pytest.raises(BridgeError, match="would run code"):
        FORMAT.load(path)
    assert not (tmp_path / "exploded").exists()


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", state())
    weights = state()["encoder.weight"].numpy().tobytes()
    data = bytearray(path.read_bytes())
    data[data.index(weights) + 5] ^= 1
    path.write_bytes(data)
    assert torch.load(path, weights_only=True), "torch itself does not see it"
    with pytest.raises(BridgeError, match="checksum"):
        FORMAT.load(path)


def test_half_a_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", state())
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        with pytest.raises(BridgeError, match="not a readable archive"):
            FORMAT.load(path)


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", state())
    with zipfile.ZipFile(path) as plain, zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(BridgeError, match="compressed"):
        FORMAT.load(tmp_path / "b.pt")


def test_a_hash_beside_it_is_kept_to(tmp_path: Path) -> None:
    path = write(tmp_path / "a.pt", state())
    beside = tmp_path / "a.pt.sha256"
    beside.write_text(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  a.pt\n")
    FORMAT.load(path)
    for text in (f"{'0' * 64}  a.pt\n", "", "nonsense"):
        beside.write_text(text)
        with pytest.raises(BridgeError, match=r"not the file that a\.pt\.sha256 is of"):
            FORMAT.load(path)


def test_it_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match="read-only"):
        FORMAT.save(FORMAT.load(write(tmp_path / "a.pt", state("ReLU"))), tmp_path / "b")
