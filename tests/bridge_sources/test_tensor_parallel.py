"""A model that torchrun divides between two processes gives the activations of one process, and says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

import bridge
from bridge.errors import ModelError, UsageError
from bridge.models import Placement, Weights
from bridge.plugins import Registry
from bridge.references import Site
from bridge.sources import Checkpoint
from bridge_sources.tensor_parallel import TensorParallel

FEW = {"max_documents": 60, "max_tokens": 48, "device": "cpu", "dtype": "float32"}


def checkpoint(registry: Registry, family: str, folder: Path) -> Checkpoint:
    adapter, weights = registry.models[family], Weights(str(folder))
    return Checkpoint(folder.name, adapter, weights, adapter.describe(weights))


@pytest.mark.parametrize("family", ["llama", "qwen"])
def test_two_ranks_equal_one_process_within_rounding(
    family: str, registry: Registry, tiny_models: Mapping[str, list[Path]]
) -> None:
    model, sites = checkpoint(registry, family, tiny_models[family][0]), [Site(2), Site(0, "mlp_out")]
    placement = Placement("cpu", "float32")
    ids = torch.arange(3, 63).reshape(3, 20)
    mask = torch.ones_like(ids)
    mask[1, 12:] = 0
    alone = model.adapter.load(model.weights, placement).activations(ids, mask, sites)
    source = TensorParallel(ranks=2)
    assert source.check(model, sites) == ()
    with source.open(model, sites, placement) as ranks:
        for _ in range(2):
            found = ranks.activations(ids, mask, sites)
            for mine, theirs in zip(found, alone, strict=True):
                kept = mask.bool()
                assert (mine - theirs)[kept].norm() <= 1e-5 * theirs[kept].norm()
        assert torch.equal(ranks.activations(ids, mask, sites[1:])[0], found[1])
        with pytest.raises(ModelError, match=r"The ranks of .* ended.*Lower --batch-size"):
            ranks.activations(ids.float(), mask, sites)  # no ids: the ranks fail


def test_a_run_on_ranks_is_told_apart(tiny_models: Mapping[str, list[Path]]) -> None:
    one, other = (f"{tiny_models[name][0]}@1" for name in ("llama", "gemma"))
    fitted = bridge.fit(src=one, dst=other, src_activations="tensor_parallel:ranks=2", map="procrustes", **FEW)
    source = fitted.provenance["src"]["activations"]
    assert (source["source"], source["ranks"]) == ("tensor_parallel", "2")
    assert "activations" not in fitted.provenance["dst"]


def test_what_cannot_be_divided_is_refused(registry: Registry, tiny_models: Mapping[str, list[Path]]) -> None:
    llama = checkpoint(registry, "llama", tiny_models["llama"][0])
    with pytest.raises(UsageError, match=r"cannot be divided between 3 ranks: num_attention_heads 4"):
        TensorParallel(ranks=3).check(llama, [Site(1)])
    with pytest.raises(UsageError, match="divides nothing"):
        TensorParallel(ranks=1).check(llama, [Site(1)])
    with pytest.raises(UsageError, match="no plan to divide"):
        TensorParallel().check(checkpoint(registry, "gpt2", tiny_models["gpt2"][0]), [Site(1)])
    assert TensorParallel(ranks=2).identity(llama) != TensorParallel(ranks=4).identity(llama)
