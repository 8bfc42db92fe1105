"""NDIF as a source of activations: requests that nnsight serialises, run here or by a server that answers as NDIF."""

from __future__ import annotations

import hashlib
import io
import pickle
import shutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zstandard
from click.testing import CliRunner, Result

import bridge
from bridge.cli import bridge as commands
from bridge.errors import UsageError
from bridge.models import Weights
from bridge.pipeline.plan.runtime import open_runtime
from bridge.references import Site
from bridge.sources import Checkpoint
from bridge.testing import check_activation_source
from bridge_sources.ndif import Ndif
from ndif_server import KEY, Service, serving
from reader_files import write_base

REPO = "tiny-lab/llama"
FIT = ("--dst", "dyck:seed1@1", "--corpus", "english", "--max-documents", "60", "--max-tokens", "24")
PAIR = ("--map", "ridge", "--dtype", "float32", "--allow-untrained", "--quiet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with random weights."""
    path = tmp_path_factory.mktemp("models") / "llama"
    write_base(path, "LlamaForCausalLM")
    return path


@pytest.fixture
def service(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """NDIF on this machine, running the tiny Llama, of which only the small files are in the hub's cache here."""
    from huggingface_hub import HfApi, constants

    cache = tmp_path / "hub" / f"models--{REPO.replace('/', '--')}"
    commit = hashlib.sha1(REPO.encode()).hexdigest()
    shutil.copytree(folder, cache / "snapshots" / commit, ignore=shutil.ignore_patterns("*.safetensors"))
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(HfApi, "model_info", lambda _, name, **__: types.SimpleNamespace(id=name))
    with serving(Service(folder, REPO)) as found:
        settings(monkeypatch, found.host, KEY)
        monkeypatch.chdir(tmp_path)
        yield found


def settings(monkeypatch: pytest.MonkeyPatch, host: str, key: str | None) -> None:
    """Set nnsight's host and key, as NDIF_HOST, NDIF_API_KEY and its configuration file do when it is imported."""
    from nnsight.schema.config import CONFIG

    monkeypatch.setattr(CONFIG.API, "HOST", host)
    monkeypatch.setattr(CONFIG.API, "APIKEY", key)


def fit(src: str, source: str, out: str) -> Result:
    """Fit a bridge from a model whose activations come from a source."""
    words = ["fit", "--src", f"{src}@1", *FIT, *PAIR, "--src-activations", source, "--out", out]
    return CliRunner().invoke(commands, words)


def told(result: Result) -> str:
    """Return what a command that failed says."""
    assert result.exit_code != 0 and result.exception is not None, result.output
    return str(result.exception)


def test_a_request_that_is_serialised_and_run_here_keeps_the_laws(folder: Path) -> None:
    model = open_runtime().resolve(f"{folder}@1")
    check_activation_source(Ndif(mode="local", texts=2), Checkpoint("llama", model.adapter, model.weights, model.info))


def test_a_bridge_fitted_on_ndif_is_the_bridge_fitted_here(
    service: Service, folder: Path, tmp_path: Path, isolated: Path
) -> None:
    service.busy = 1
    asked = {"here": (str(folder), "transformers"), "local": (str(folder), "ndif:mode=local"), "remote": (REPO, "ndif")}
    for out, (src, source) in asked.items():
        result = fit(src, source, out)
        assert result.exit_code == 0, (result.output, result.exception)
    here, local, remote = map(bridge.load, asked)
    for other in (local, remote):
        for name, array in here.fitted.arrays().items():
            np.testing.assert_allclose(other.fitted.arrays()[name], array, atol=1e-3)
    assert local.provenance["src"]["activations"]["mode"] == "local"
    said = remote.provenance["src"]["activations"]
    assert said["revision"] == "main" and "nnsight" in said and "Which commit that was" in " ".join(said["notes"])
    # The model is named and not sent, and its weights are not fetched.
    assert 1 < len(service.seen) < 30 and all(REPO in one["model_key"] for one in service.seen)
    assert not list((tmp_path / "hub").rglob("*.safetensors"))
    written = [path for root in (tmp_path, isolated) for path in root.rglob("*") if path.is_file()]
    assert written and not any(KEY.encode() in path.read_bytes() for path in written)


def test_what_was_collected_is_not_asked_for_again(service: Service) -> None:
    assert fit(REPO, "ndif:wait=100", "one").exit_code == 0
    asked = len(service.seen)
    assert fit(REPO, "ndif", "two").exit_code == 0 and len(service.seen) == asked
    # The texts of a pass decide the last bits.
    assert fit(REPO, "ndif:texts=3", "three").exit_code == 0 and len(service.seen) > asked


class Evil:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def packed(value: Any, *, by_torch: bool = True) -> bytes:
    """Return a value as servers send it, or as a bare pickle."""
    with io.BytesIO() as file:
        torch.save(value, file) if by_torch else pickle.dump(value, file)
        return zstandard.ZstdCompressor().compress(file.getvalue())


def test_what_fails_on_the_way_is_told_in_words(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = tmp_path / "evil"

    def case(source: str = "ndif", **changes: Any) -> str:
        with monkeypatch.context() as one:
            for name, value in changes.items():
                one.setattr(service, name, value)
            found = told(fit(REPO, source, "out"))
        assert KEY not in found and not evil.exists()
        return found

    found = case(running=False)
    assert f"does not run {REPO}" in found and "somebody/other" in found and "deploy=true" in found
    found = case("ndif:patience=1", busy=99)
    assert "has a quota, which is used up: Failed to send request: Too many requests for this key" in found
    found = case(fails="Traceback ...\ntorch.OutOfMemoryError: CUDA out of memory.")
    assert "The job failed on NDIF" in found and "CUDA out of memory" in found and "smaller --batch-size" in found
    assert "was not done after 1 s; its state is QUEUED" in case("ndif:wait=1", waits=10**6)
    assert "answered with no tensors" in case(answer=packed(Evil(evil), by_torch=False))
    assert "answered with no tensors" in case(answer=packed({"rows": [Evil(evil)]}))
    assert "answered with no rows" in case(answer=packed({"other": []}))
    assert "answered with [], not" in case(answer=packed({"rows": []}))
    assert "answered with more than" in case(answer=packed({"rows": [torch.zeros(10**7)]}))
    assert "answered with no list of models" in case(repo=None)
    settings(monkeypatch, service.host, "wrong")
    found = case()
    assert "refuses the key" in found and "https://login.ndif.us" in found
    settings(monkeypatch, "https://api.ndif.us", None)
    assert "There is no key for NDIF" in case()
    settings(monkeypatch, "http://127.0.0.1:9", KEY)
    found = case()
    assert "cannot be reached" in found and "NDIF_HOST" in found
    assert not (tmp_path / "out" / "bridge.json").exists()


def test_ndif_that_computes_in_another_dtype_is_refused(service: Service) -> None:
    service.dtype = "bfloat16"
    found = told(fit(REPO, "ndif", "out"))
    assert "in bfloat16, and float32 was asked for" in found and "--dtype bfloat16" in found


def test_what_cannot_be_read_remotely_is_refused_before_anything_runs(folder: Path) -> None:
    model = open_runtime().resolve(f"{folder}@1")
    here = Checkpoint(str(folder), model.adapter, model.weights, model.info)
    remote = Checkpoint(REPO, model.adapter, Weights(REPO, "0" * 40), model.info)
    notes = " ".join(Ndif().check(remote, [Site(1), Site(1, "attn_out")]))
    assert f"{REPO} at its revision main" in notes and "loads it here" in notes
    with pytest.raises(UsageError, match=r"layers\.1\.mlp"):
        Ndif().check(remote, [Site(1, "layers.1.mlp")])
    with pytest.raises(UsageError, match="NDIF runs models of the hub"):
        Ndif().check(here, [Site(1)])
    with pytest.raises(UsageError, match="at least one text"):
        Ndif(texts=0).check(remote, [Site(1)])
    toy = open_runtime().resolve("dyck:seed0@1")
    with pytest.raises(UsageError, match="Causal language models of transformers are served"):
        Ndif(mode="local").check(Checkpoint("dyck", toy.adapter, toy.weights, toy.info), [Site(1)])
    branch = Checkpoint(f"{REPO}#step3", model.adapter, Weights(REPO, "0" * 40), model.info)
    assert (Ndif().identity(remote)["revision"], Ndif().identity(branch)["revision"]) == ("main", "step3")
