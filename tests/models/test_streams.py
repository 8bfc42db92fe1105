"""Models with several residual streams: each of them, and their mean, against transformers' own hidden states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bridge.errors import UsageError
from bridge.models import LoadedModel, Placement, Weights
from bridge.plugins import Registry
from bridge.references import Site, parse_site
from tiny_causal import outcome

pytestmark = pytest.mark.filterwarnings("ignore")
IDS = [[3, 10, 40, 7, 100], [9, 8, 7, 6, 5]]
KINDS = [("gemma3n_text", 0, "stream0"), ("deepseek_v4", 2, "mean")]


def loaded(model_type: str, registry: Registry, folder: Path) -> LoadedModel:
    adapter = registry.models["huggingface"]
    outcome(model_type, adapter, folder)
    return adapter.load(Weights(str(folder / model_type)), Placement("cpu", "float32"))


def hidden_states(model: LoadedModel, ids: Any) -> Any:
    import torch

    with torch.inference_mode():
        return model.module(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states


@pytest.mark.parametrize(("model_type", "axis", "default"), KINDS)
def test_streams_are_hidden_states(
    model_type: str, axis: int, default: str, registry: Registry, tmp_path: Path
) -> None:
    import torch

    model = loaded(model_type, registry, tmp_path)
    ids = torch.tensor(IDS)
    states = hidden_states(model, ids)
    for layer in range(model.n_layers):
        names = ["", *(f".stream{index}" for index in range(4)), ".mean"]
        for point, stack in (("resid_pre", states[layer]), ("resid_post", states[layer + 1])):
            sites = [parse_site(f"{layer}.{point}{name}", model.n_layers) for name in names]
            plain, *streams, mean = model.activations(ids, torch.ones_like(ids), sites)
            if stack.dim() == 3:  # of the last block, transformers gives what the final norm makes of it
                trunk: Any = model.module.model
                assert torch.equal(trunk.norm(trunk.hc_head(torch.stack(streams, dim=axis))), stack)
                continue
            for index, value in enumerate(streams):
                assert torch.equal(value, stack.select(axis, index)), (layer, point, index)
            torch.testing.assert_close(mean, sum(streams) / 4)
            assert torch.equal(plain, mean if default == "mean" else streams[0])


@pytest.mark.parametrize(("model_type", "axis", "default"), KINDS)
def test_an_edit_of_one_stream_leaves_the_others(
    model_type: str, axis: int, default: str, registry: Registry, tmp_path: Path
) -> None:
    import torch

    model = loaded(model_type, registry, tmp_path)
    ids = torch.tensor(IDS)
    block = model.module.get_submodule(f"{model.layout.blocks}.1")

    def doubled(_: Any, args: Any, output: Any) -> Any:
        output = output.clone()
        output.select(axis, 2).mul_(2)
        return output

    hook = block.register_forward_hook(doubled)
    with torch.inference_mode():
        expected = model.module(input_ids=ids, use_cache=False).logits
    hook.remove()
    found = model.logits(ids, torch.ones_like(ids), {Site(1, "resid_post.stream2"): lambda value: value.mul_(2)})
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, model.logits(ids, torch.ones_like(ids)))


def test_an_edit_of_the_mean_is_refused(registry: Registry, tmp_path: Path) -> None:
    import torch

    model = loaded("deepseek_v4", registry, tmp_path)
    ids = torch.tensor(IDS)
    for point in ("resid_post", "resid_post.mean"):
        with pytest.raises(UsageError, match=r"mean of 4 residual streams cannot be edited.*stream0"):
            model.logits(ids, torch.ones_like(ids), {Site(1, point): lambda value: value})


def test_a_stream_that_is_not_there_is_refused(registry: Registry, tmp_path: Path) -> None:
    import torch

    ids = torch.tensor(IDS)
    model = loaded("gemma3n_text", registry, tmp_path)
    with pytest.raises(UsageError, match=r"no resid_post.stream4: it has 4 residual streams.*resid_post.stream3"):
        model.activations(ids, torch.ones_like(ids), [Site(1, "resid_post.stream4")])
    one = loaded("starcoder2", registry, tmp_path)
    with pytest.raises(UsageError, match=r"no resid_post.stream0: it has one residual stream.*Write 1.resid_post"):
        one.activations(ids, torch.ones_like(ids), [Site(1, "resid_post.stream0")])
