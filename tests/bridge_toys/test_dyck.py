"""The toy family: its language, its shipped networks, and what they share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge.corpus import Document
from bridge.errors import ModelError
from bridge.models import LoadedModel, Placement, Weights
from bridge.plugins import discover
from bridge.references import Site
from bridge_toys.dyck import Dyck
from bridge_toys.dyck.language import MAX_DEPTH, VOCABULARY, Words, legal, sample

ADAPTER = Dyck()
VARIANTS = ADAPTER.aliases()[0].variants
PARTNER = {")": "(", "]": "[", "}": "{"}


def load(folder: str | Path, dtype: str = "float32") -> LoadedModel:
    return ADAPTER.load(Weights(str(folder)), Placement("cpu", dtype))


def fresh(words: int, seed: int = 77) -> Words:
    return sample(np.random.default_rng([4, seed]), words)


def read(text: str) -> list[tuple[int, int, list[str]]]:
    """Depth, validity and open brackets after every bracket, as far as the first that breaks the rules."""
    stack: list[str] = []
    found = []
    for bracket in text:
        if bracket in PARTNER.values():
            stack = [*stack, bracket]
            fits = len(stack) <= MAX_DEPTH
        else:
            fits = bool(stack) and stack[-1] == PARTNER[bracket]
            stack = stack[:-1]
        found.append((len(stack), 1, stack) if fits else (-1, 0, stack))
        if not fits:
            break
    return found


def test_labels_are_those_of_a_stack() -> None:
    words = fresh(600)
    for text, depth, valid, ids in zip(words.texts, words.depth, words.valid, words.ids, strict=True):
        found = read(text)
        assert len(found) == len(text), "nothing follows the bracket that breaks the rules"
        expected = [(0, 1), *((d, v) for d, v, _ in found)]
        assert list(zip(depth.tolist(), valid.tolist(), strict=True))[: len(expected)] == expected
        assert (depth[len(expected) :] == -1).all() and (valid[len(expected) :] == -1).all()
        for (_, keeps, _), (_, _, stack), following in zip(found[1:], found, ids[2:], strict=False):
            assert (int(following) in legal(["([{".index(bracket) for bracket in stack])) == bool(keeps)
    broken = (words.valid == 0).any(1)
    assert 0.2 < broken.mean() < 0.3
    assert words.depth.max() == MAX_DEPTH
    assert {len(text) for text, cut in zip(words.texts, broken, strict=True) if not cut} == {63}


def test_characters() -> None:
    (encoded,) = ADAPTER.tokenizer(Weights("")).encode([Document("([é🙂])", "")], 64)
    assert [VOCABULARY[index] for index in encoded.ids] == ["<bos>", "(", "[", "<unk>", "<unk>", "]", ")"]
    assert encoded.ends.tolist() == [-1, 1, 2, 3, 4, 5, 6]
    assert ADAPTER.tokenizer(Weights("")).decode(encoded.ids.tolist()) == "([<unk><unk>])"


@pytest.mark.parametrize("variant", VARIANTS)
def test_shipped_networks_have_learned_the_language(variant: str) -> None:
    words = fresh(300)
    with torch.inference_mode():
        output = load(VARIANTS[variant]).module(torch.from_numpy(words.ids))
    depth, validity = output.depth.argmax(-1).numpy(), output.validity.argmax(-1).numpy()
    assert (depth == words.depth)[words.depth >= 0].mean() >= 0.99
    assert (validity == words.valid)[words.valid >= 0].mean() >= 0.99
    best = output.logits.argmax(-1).numpy()
    closing = output.logits[..., 5:8].argmax(-1).numpy()
    allowed, kinds = [], []
    for row, text in enumerate(words.texts):
        for t, (_, keeps, stack) in enumerate(read(text), start=1):
            if keeps:
                allowed.append(int(best[row, t]) in legal(["([{".index(bracket) for bracket in stack]))
            if keeps and stack:
                kinds.append("([{"[closing[row, t]] == stack[-1])
    assert np.mean(allowed) >= 0.99
    assert np.mean(kinds) >= 0.99


def test_early_checkpoint_is_half_trained() -> None:
    (early,) = Path(VARIANTS["seed0"]).glob("step*")
    then, now = (json.loads((path / "training.json").read_text()) for path in (early, Path(VARIANTS["seed0"])))
    assert early.name == f"step{then['steps']}" and then["steps"] < now["steps"] / 2
    assert 0.5 < then["closing_kind"] < 0.95 < now["closing_kind"]
    assert load(early).n_layers == 2


def test_shared_networks_share_their_frame_and_nothing_else() -> None:
    one, other, seed = (load(VARIANTS[name]).module.state_dict() for name in ("shared0", "shared1", "seed0"))
    equal = {name for name in one if torch.equal(one[name], other[name])}
    assert equal == {name for name in one if not name.startswith("blocks.")}
    assert not any(torch.equal(one[name], seed[name]) for name in one)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_is_causal(dtype: str) -> None:
    model = load(VARIANTS["seed1"], dtype)
    ids = torch.from_numpy(fresh(2).ids[:, :40])
    changed = ids.clone()
    changed[:, 20:] = 2
    sites = [Site(layer, point) for layer in (0, 1) for point in ("resid_mid", "resid_post")]
    for x, y in zip(*(model.activations(each, torch.ones_like(each), sites) for each in (ids, changed)), strict=True):
        assert x.dtype == getattr(torch, dtype)
        assert torch.allclose(x[:, :20], y[:, :20], atol=1e-6)
        assert not torch.allclose(x[:, 20:], y[:, 20:], atol=1e-2)


def test_corpus_is_of_distinct_words() -> None:
    texts = [json.loads(line)["text"] for line in Path(discover().corpora[ADAPTER.corpus()]).read_text().splitlines()]
    assert len(texts) == len(set(texts)) == 3000
    assert {len(text) for text in texts} == set(range(20, 64))
    assert all(len(read(text)) == len(text) for text in texts)


@pytest.mark.parametrize("damage", ["missing", "truncated", "mixed", "config"])
def test_damaged_checkpoints_fail_with_a_reason(damage: str, tmp_path: Path) -> None:
    (folder,) = ADAPTER.write_tiny_checkpoints(tmp_path)
    weights = folder / "model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "mixed":
        weights.write_bytes((Path(VARIANTS["seed0"]) / "model.safetensors").read_bytes())
    else:
        (folder / "config.json").write_text('{"model_type": "bridge-dyck", "d_model": "wide"}')
    with pytest.raises(ModelError) as caught:
        load(folder)
    assert caught.value.cause and caught.value.remedy and str(folder) in caught.value.what
