"""Formats of published readers, each against a slow reference by its source's own rule, on tiny random bases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import slow_readers as slow
from bridge.plugins import Registry
from bridge.readers import bodies, loading
from nla_files import TrainedSubject
from published_files import (
    AV_TEMPLATE,
    BASES,
    CHAR,
    CONCEPTS,
    LAYER,
    PLACE,
    chat_ids,
    tokenizer_of,
    write_base,
    write_easynla_ar,
    write_easynla_av,
    write_lora_nla,
    write_merged_ar,
    write_oracle,
    write_oracle_lens,
)

TOKENS = 12
Floats = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, int]]:
    made: dict[str, tuple[Path, int]] = {}

    def base(case: str) -> tuple[Path, int]:
        if case not in made:
            folder = tmp_path_factory.mktemp("base") / "base"
            made[case] = folder, write_base(folder, case)
        return made[case]

    return base


def draw(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@contextmanager
def heard(monkeypatch: pytest.MonkeyPatch, block: int | None) -> Iterator[dict[str, list[torch.Tensor]]]:
    """Keep what a reader's model is given after the injection, and its first logits, as they are while it runs."""
    kept: dict[str, list[torch.Tensor]] = {"there": [], "logits": []}
    load = loading.load_module

    def listened(*given: Any, **named: Any) -> Any:
        module = load(*given, **named)
        after = slow.blocks(module)[0 if block is None else block + 1]

        def before(_: Any, positional: Any, by_name: Any) -> None:
            kept["there"].append((positional[0] if positional else by_name["hidden_states"]).detach().clone())

        after.register_forward_pre_hook(before, with_kwargs=True)
        module.register_forward_hook(lambda _, __, out: kept["logits"].append(out.logits[:, -1].detach().clone()))
        return module

    with monkeypatch.context() as patch:
        for place in (loading, bodies):
            patch.setattr(place, "load_module", listened)
        yield kept


def held_to(
    read: Callable[[list[int], Floats], tuple[torch.Tensor, torch.Tensor]],
    ids: list[int],
    verbalizer: Any,
    vectors: Floats,
    tokenizer: Any,
    kept: dict[str, list[torch.Tensor]],
    parse: Callable[[str], str] = str.strip,
    explain: Callable[[Any, Floats], list[Any]] = lambda verbalizer, vectors: verbalizer.explain(vectors[:, 0]),
) -> None:
    """Hold activations, logits and texts of a verbalizer to the slow reference's.

    Args:
        read: Returns the reference's logits and what stands at the places, given ids and vectors (places, d_model).
        ids: The reference's prompt.
        verbalizer: What is held to it.
        vectors: (n, places, d_model) float32.
        tokenizer: Of the base.
        kept: What was heard of the verbalizer's model.
        parse: What the source makes of a text.
        explain: How the verbalizer is asked.
    """
    said = explain(verbalizer, vectors)
    # The prompt before the places is read first, and alone.
    there, logits = kept["there"][1], kept["logits"][1]
    places = vectors.shape[1]
    ends = [tokenizer.eos_token_id, ended(Path(tokenizer.name_or_path))]
    texts = []
    for row, vector in enumerate(vectors):
        wanted, injected = read(ids, vector)
        torch.testing.assert_close(there[row, :places], injected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits[row], wanted, rtol=1e-5, atol=1e-5)
        written = slow.written(lambda so_far, v=vector: read(so_far, v), ids, TOKENS, ends)
        texts.append(parse(tokenizer.decode(written, skip_special_tokens=True, clean_up_tokenization_spaces=False)))
    assert [one.text for one in said] == texts
    # A tiny model may write one text of them all; that each vector is heard stands in the logits.
    assert torch.pdist(logits).min() > 0.01, "the vectors are not heard"


def ended(base: Path) -> int | None:
    """Return the token that ends a text by a base's own configuration."""
    from transformers import GenerationConfig

    return GenerationConfig.from_pretrained(base).eos_token_id


def opened(registry: Registry, kind: str, folder: Path, width: int, **options: Any) -> Any:
    return registry.verbalizers[kind](checkpoint=str(folder), max_new_tokens=TOKENS, **options).open(
        TrainedSubject(width)
    )


def add(model: Any, places: list[int], coefficient: float = 1.0, block: int = 1) -> Any:
    return lambda ids, vectors: slow.added(model, ids, places, torch.from_numpy(vectors), coefficient, block)


@pytest.mark.parametrize("merged", [False, True], ids=["adapter", "merged"])
@pytest.mark.parametrize("case", BASES)
def test_easynla_adds_at_block_1(
    case: str, merged: bool, bases: Any, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, width = bases(case)
    write_easynla_av(tmp_path / "av", base, merged=merged)
    tokenizer = tokenizer_of(base)
    ids = chat_ids(tokenizer, AV_TEMPLATE.replace("{injection_char}", CHAR))
    model = slow.load(tmp_path / "av", None if merged else base)
    at = ids.index(tokenizer.convert_tokens_to_ids(CHAR))
    with heard(monkeypatch, 1) as kept:
        held_to(add(model, [at]), ids, opened(registry, "easynla", tmp_path, width), draw(6, 1, width), tokenizer, kept)


@pytest.mark.parametrize("strip", [True, False, None], ids=["stripped", "kept", "unsaid"])
@pytest.mark.parametrize("case", BASES)
def test_easynlas_way_back(case: str, strip: bool | None, bases: Any, registry: Registry, tmp_path: Path) -> None:
    base, width = bases(case)
    write_easynla_av(tmp_path / "av", base)
    write_easynla_ar(tmp_path / "ar", base, strip=strip)
    verbalizer = opened(registry, "easynla", tmp_path, width)
    texts = ["the map of the stream", "a rotation", "the map of the stream"]
    assert verbalizer.reconstructs
    wanted = slow.rebuilt(base, strip is True, texts)
    np.testing.assert_allclose(verbalizer.reconstruct(texts), wanted.numpy(), rtol=1e-4, atol=1e-5)
    # One base serves both halves, each with its own adapter.
    before = verbalizer.explain(draw(2, width))
    np.testing.assert_allclose(verbalizer.reconstruct(texts), wanted.numpy(), rtol=1e-4, atol=1e-5)
    assert verbalizer.explain(draw(2, width)) == before


@pytest.mark.parametrize("case", BASES)
def test_easynlas_way_back_merged(case: str, bases: Any, registry: Registry, tmp_path: Path) -> None:
    base, width = bases(case)
    write_easynla_av(tmp_path / "av", base)
    write_merged_ar(tmp_path / "back", base)
    verbalizer = opened(registry, "easynla", tmp_path / "av", width, ar=str(tmp_path / "back"))
    texts = ["the map of the stream", "a rotation"]
    wanted = slow.rebuilt(base, True, texts)
    np.testing.assert_allclose(verbalizer.reconstruct(texts), wanted.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("case", BASES)
def test_oracles_answer_about_one_vector_or_several(
    case: str, count: int, bases: Any, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, width = bases(case)
    write_oracle(tmp_path, base, {"steering_coefficient": 4.0})
    tokenizer = tokenizer_of(base)
    # The question may hold the placeholder.
    question = "Is it a map ? Say so ?"
    prefix = f"Layer: {LAYER}\n{PLACE * count} \n"
    ids = chat_ids(tokenizer, prefix + question, enable_thinking=False)
    first = ids.index(tokenizer.convert_tokens_to_ids(PLACE))
    read = add(slow.load(tmp_path, base), list(range(first, first + count)), 4.0)
    verbalizer = opened(registry, "activation_oracle", tmp_path, width, ask=question)
    with heard(monkeypatch, 1) as kept:
        held_to(
            read, ids, verbalizer, draw(6, count, width), tokenizer, kept, explain=partial(together, question=question)
        )


def together(verbalizer: Any, vectors: Floats, question: str) -> list[Any]:
    """Ask about each row of vectors, (n, places, d_model), all of a row at once."""
    if vectors.shape[1] == 1:
        return list(verbalizer.explain(vectors[:, 0]))
    return list(verbalizer.ask(list(vectors), question))


@pytest.mark.parametrize("case", BASES)
def test_oracle_lenses_replace_the_embedding(
    case: str, bases: Any, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, width = bases(case)
    write_oracle_lens(tmp_path, base)
    tokenizer = tokenizer_of(base)
    text = CONCEPTS.replace("{layer}", str(LAYER)).replace("{injection_char}", CHAR)
    ids = chat_ids(tokenizer, text, enable_thinking=False)
    at = ids.index(tokenizer.convert_tokens_to_ids(CHAR))
    model = slow.load(tmp_path / "lora", base)
    read = lambda so_far, v: slow.replaced(model, so_far, at, torch.from_numpy(v[0]), 16000.0)  # noqa: E731
    with heard(monkeypatch, None) as kept:
        held_to(read, ids, opened(registry, "oracle_lens", tmp_path, width), draw(6, 1, width), tokenizer, kept)


@pytest.mark.parametrize("case", ["qwen3", "gemma3 in its wrapper"])
def test_lora_nlas_replace_the_embedding(
    case: str, bases: Any, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, width = bases(case)
    write_lora_nla(tmp_path, base)
    tokenizer = tokenizer_of(base)
    ids = chat_ids(tokenizer, AV_TEMPLATE.replace("{injection_char}", CHAR) + "\n<explanation>")
    at = ids.index(tokenizer.convert_tokens_to_ids(CHAR))
    model = slow.load(tmp_path, base)
    read = lambda so_far, v: slow.replaced(model, so_far, at, torch.from_numpy(v[0]), 150.0)  # noqa: E731
    with heard(monkeypatch, None) as kept:
        held_to(read, ids, opened(registry, "lora_nla", tmp_path, width), draw(6, 1, width), tokenizer, kept)
