"""Generation: from a cache and in batches, the text is the one that a model alone writes when it reads all again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bridge.errors import UsageError
from bridge.models import LoadedModel, ModelAdapter, Placement, TransformersAdapter, Weights
from bridge.plugins import Registry, discover
from bridge.references import Site

CPU = Placement("cpu", "float32")
FAMILIES = sorted(discover().models)
Ids = NDArray[np.int64]
Change = Callable[[torch.Tensor], torch.Tensor]


def loaded(adapter: ModelAdapter, path: Path) -> LoadedModel:
    """Load a checkpoint with larger weights: as they are, they say one token again and again."""
    model = adapter.load(Weights(str(path)), CPU)
    generator = torch.Generator().manual_seed(0)
    for weight in model.module.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=3 / weight.shape[-1] ** 0.5, generator=generator)
    return model


def alone(model: LoadedModel, prompt: Ids, count: int, change: Change = lambda value: value) -> list[int]:
    """Go on with one text: the bare module reads all of it for every token, with a hook on its block 1.

    Returns:
        Fewer tokens than asked for where rounding would choose the next.
    """

    def hook(module: Any, args: Any, out: Any) -> Any:
        return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)

    handle = model.module.get_submodule(f"{model.layout.blocks}.1").register_forward_hook(hook)
    name, kwargs = ("input_ids", {"use_cache": False}) if hasattr(model.module, "config") else ("ids", {})
    ids = prompt.tolist()
    for _ in range(count):
        with torch.no_grad():
            logits = model.module(**{name: torch.tensor([ids])}, **kwargs).logits[0, -1]
        best = logits.topk(2).values
        if best[0] - best[1] < 1e-4 * logits.abs().max():
            break
        ids.append(int(logits.argmax()))
    handle.remove()
    return ids[len(prompt) :]


def text(model: LoadedModel, length: int, count: int, change: Change = lambda value: value) -> tuple[Ids, list[int]]:
    """Draw a prompt, and return with it what `alone` goes on with."""
    rng = np.random.default_rng(length)
    while True:
        prompt = rng.integers(3, 512 if hasattr(model.module, "config") else 8, length)
        added = alone(model, prompt, count, change)
        if len(added) == count:
            return prompt, added


def passes(model: LoadedModel) -> list[tuple[int, int]]:
    """Return a list that fills with (texts, tokens) of every forward pass."""
    shapes: list[tuple[int, int]] = []

    def hook(module: Any, args: Any, out: Any) -> None:
        shapes.append(tuple((out[0] if isinstance(out, tuple) else out).shape[:2]))

    model.module.get_submodule(f"{model.layout.blocks}.0").register_forward_hook(hook)
    return shapes


def adding(vector: torch.Tensor) -> Change:
    return lambda value: value + vector


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_from_a_cache_write_what_each_text_alone_does(
    family: str, registry: Registry, tiny_models: Mapping[str, list[Path]]
) -> None:
    for path in tiny_models[family]:
        model = loaded(registry.models[family], path)
        generator = torch.Generator().manual_seed(1)
        changes = [adding(size * torch.randn(model.d_model, generator=generator)) for size in (0, 3, 3, 0, 9)]
        edits = [{} if row in (0, 3) else {Site(1): change} for row, change in enumerate(changes)]
        lengths = (1, 21, 3, 9, 9)
        drawn = [text(model, length, 14, change) for length, change in zip(lengths, changes, strict=True)]
        prompts, expected = [prompt for prompt, _ in drawn], [added for _, added in drawn]
        assert len({token for one in expected for token in one}) >= 4
        shapes = passes(model)
        assert model.generate(prompts, 14, edits, ends=()) == expected
        adapter = registry.models[family]
        if isinstance(adapter, TransformersAdapter) and adapter.cached_inputs(model.module):
            assert shapes == [(5, 21)] + [(5, 1)] * 13, "every token is read once"
        end = expected[1][6]
        stopped = [one[: one.index(end)] if end in one else one for one in expected]
        assert model.generate(prompts, 14, edits, ends=[end]) == stopped


def test_texts_end_where_the_model_says(registry: Registry, tiny_models: Mapping[str, list[Path]]) -> None:
    model = loaded(registry.models["llama"], tiny_models["llama"][0])
    tokenizer: Any = model.tokenizer
    config: Any = model.module.generation_config
    assert model.ends == {config.eos_token_id, tokenizer.tokenizer.eos_token_id}
    prompt, expected = text(model, 4, 8)
    model.ends = frozenset({expected[5]})
    until = expected.index(expected[5])
    shapes = passes(model)
    assert model.generate([prompt], 8) == [expected[:until]]
    assert len(shapes) == until + 1, "nothing is read after the end"
    assert model.generate([prompt, prompt], 0) == [[], []]
    many = [text(model, length, 3) for length in range(1, 41)]
    assert model.generate([one for one, _ in many], 3, ends=()) == [added for _, added in many]


@pytest.mark.parametrize("family", ["qwen", "dyck"])
def test_an_edit_holds_where_it_is_read(family: str, registry: Registry, tiny_models: Mapping[str, list[Path]]) -> None:
    model = loaded(registry.models[family], tiny_models[family][0])
    vector = torch.randn(model.d_model, generator=torch.Generator().manual_seed(0)) * 20

    def patch(value: torch.Tensor) -> torch.Tensor:
        value = value.clone()
        value[:, 2] = vector
        return value

    (first, patched), (second, plain) = text(model, 7, 6, patch), text(model, 4, 6)
    assert patched != alone(model, first, 6), "the model reads the patch"
    decoding = model.decoding(12)
    logits = decoding.read([first, second], [{Site(1): patch}, {}])
    said = [logits.argmax(-1).tolist()]
    for _ in range(5):
        logits = decoding.read([np.array([token]) for token in said[-1]])
        said.append(logits.argmax(-1).tolist())
    assert np.transpose(said).tolist() == [patched, plain]


@pytest.mark.parametrize(("family", "limit"), [("gpt2", 128), ("dyck", 64)])
def test_no_text_becomes_longer_than_the_model_reads(
    family: str, limit: int, registry: Registry, tiny_models: Mapping[str, list[Path]]
) -> None:
    model = loaded(registry.models[family], tiny_models[family][0])
    short, long, empty = (np.full(length, 3) for length in (5, limit - 3, 0))
    shapes = passes(model)
    with pytest.raises(UsageError, match=rf"reads at most {limit} tokens, and a text would come to {limit + 1}\."):
        model.generate([short, long], 5)
    assert shapes == []
    assert [len(one) for one in model.generate([short, long], 4, ends=())] == [4, 4]
    with pytest.raises(UsageError, match="no tokens to continue from"):
        model.generate([short, empty], 4)
    decoding = model.decoding(6)
    decoding.read([short])
    with pytest.raises(UsageError, match="7 tokens, where at most 6"):
        decoding.read([short[:2]])
    decoding.keep([0, 0])
    with pytest.raises(UsageError, match=r"as long as each other; these have \[1, 2\]"):
        decoding.read([short[:1], short[:2]])


def test_models_whose_cache_does_not_hold_read_all_again(registry: Registry, tmp_path: Path) -> None:
    from transformers import FalconH1Config, Phi3Config

    sizes = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "eos_token_id": 1, "pad_token_id": 1}
    angles = {"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}
    limits = {"original_max_position_embeddings": 16, "max_position_embeddings": 64}
    mamba = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8}
    # Keys of longer texts are turned by other angles; a state knows no padding on the left.
    turned = Phi3Config(**sizes, **heads, **limits, rope_parameters=angles)
    hybrid = FalconH1Config(**sizes, **heads, **mamba)
    for family, config, short in (("phi", turned, (2, 1)), ("huggingface", hybrid, (1, 15))):
        model = loaded(registry.models[family], written(config, tmp_path / family))
        (first, one), (second, other) = text(model, 12, 10), text(model, 11, 10)
        shapes = passes(model)
        assert model.generate([first, second], 10, ends=()) == [one, other]
        assert shapes[-1] == (1, 21), "texts of one length are read together"
        assert model.generate([first, second], 4, ends=()) == [one[:4], other[:4]]
        assert shapes[-1] == short


def written(config: Any, folder: Path) -> Path:
    """Write a random model of a configuration, with the tokenizer of the tiny models."""

    class Family(TransformersAdapter):
        name = folder.name

        def layout(self, module: Any) -> Any:
            raise NotImplementedError

        def tiny_configs(self) -> list[Any]:
            return [config]

    (path,) = Family().write_tiny_checkpoints(folder)
    return path
