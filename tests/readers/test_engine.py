"""The engine of readers: equal to a full forward pass without a cache and with an explicit hook, whatever goes in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bridge.models import Placement
from bridge.readers import Injection, Message, Prompt, Weights, Whitening, read_adapter
from bridge.readers.bodies import Bodies
from bridge.readers.decoding import Speaker, likeliest
from bridge.readers.injection import lengthened, whitened
from bridge.readers.prompt import Placed, placed
from bridge.verbalizers import Blends
from nla_files import CHAR
from reader_files import BASES, with_peft, write_adapter, write_base

CPU = Placement("cpu", "float32")
INJECTIONS = {
    "embedding, replaced, fixed length": Injection(length=30.0),
    "embedding, added, raw": Injection(how="add"),
    "block, added, as long as the place": Injection(block=1, how="add", length="place"),
    "block, replaced, sqrt d": Injection(block=0, length="sqrt_d"),
    "block, replaced, twice the place": Injection(block=1, length="place", times=2.0),
}


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture(scope="module", params=BASES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / str(request.param)
    write_base(folder, str(request.param))
    return folder


def blocks(module: Any) -> Any:
    """Find the blocks without the code under test."""
    found = [part for name, part in module.named_modules() if name.endswith("layers") and "vision" not in name]
    assert len(found) == 1
    return found[0]


class Slow:
    """A whole forward pass over all tokens, one row at a time, with one explicit hook."""

    def __init__(self, module: Any, prompt: Placed, injection: Injection) -> None:
        self.module, self.prompt, self.injection = module, prompt, injection
        self.seen: torch.Tensor | None = None

    @torch.inference_mode()
    def logits(self, vectors: np.ndarray, said: Sequence[int] = ()) -> torch.Tensor:
        """Return the logits of the next token, after vectors (m, d) as they were given."""

        def hook(part: Any, args: Any, out: Any) -> Any:
            hidden = (out[0] if isinstance(out, tuple) else out).clone()
            for place, vector in zip(self.prompt.places, vectors, strict=True):
                v, h = torch.tensor(vector), hidden[0, place]
                unit, rule = v / v.norm(), self.injection.length
                lengths = {"place": h.norm(), "sqrt_d": len(v) ** 0.5, "raw": v.norm()}
                u = unit * self.injection.times * (lengths[rule] if isinstance(rule, str) else rule)
                hidden[0, place] = h + u if self.injection.how == "add" else u
            self.seen = hidden
            return (hidden, *out[1:]) if isinstance(out, tuple) else hidden

        block = self.injection.block
        where = self.module.get_input_embeddings() if block is None else blocks(self.module)[block]
        handle = where.register_forward_hook(hook)
        ids = torch.tensor([[*self.prompt.ids, *said]])
        # The hook also sees the tokens that were said: places are of the prompt, and keep what they are.
        try:
            return self.module(input_ids=ids, use_cache=False).logits[0, -1]
        finally:
            handle.remove()


def compare(module: Any, slow_module: Any, prompt: Placed, injection: Injection, vectors: np.ndarray) -> None:
    """Hold three decoded tokens of several rows, (n, m, d), to the slow way: what is injected, and all logits."""
    slow, scores, seen = Slow(slow_module, prompt, injection), [], []

    def choose(found: torch.Tensor, rows: Sequence[int]) -> list[int]:
        scores.append(found.clone())
        return likeliest(found, rows)

    where = None if injection.block is None else blocks(module)[injection.block]
    speaker = Speaker(module, prompt, injection, [])
    given = lengthened(vectors, injection)[:, None]
    if where is not None:
        # Behind the engine's own hook, which is registered later: read at the next block's input.
        following = blocks(module)[injection.block + 1]  # type: ignore[operator]
        handle = following.register_forward_pre_hook(lambda part, args, kwargs: seen.append(args[0]), with_kwargs=True)
    said = speaker.say(Blends(given, given[0, :0]), 3, choose)
    if where is not None:
        handle.remove()
    for row, one in enumerate(vectors):
        for step in range(3):
            wanted = slow.logits(one, said[row][:step]).log_softmax(0)
            torch.testing.assert_close(scores[step][row], wanted, atol=1e-5, rtol=1e-5)
            if step == 0 and seen:
                found = torch.stack([seen[0][row, place - prompt.places[0]] for place in prompt.places])
                assert slow.seen is not None
                torch.testing.assert_close(found, slow.seen[0, list(prompt.places)], atol=1e-5, rtol=1e-5)
    assert (scores[0] - scores[0][0])[1:].abs().amax(1).min() > 1e-3, "the vectors are meant to be heard"


def a_prompt(tokenizer: Any, vectors: int) -> Placed:
    prompt = Prompt(messages=(Message(content="Layer: {layer}\n{vectors} {question}"),), placeholder=CHAR, several=True)
    return placed(tokenizer, prompt, vectors, f"what is the map of {CHAR}?", 1)


@pytest.mark.parametrize("name", INJECTIONS)
def test_logits_are_those_of_a_whole_forward_pass(name: str, base: Path) -> None:
    bodies, weights = Bodies("", False, CPU), Weights(folder=base)
    module, prompt = bodies.module(weights), a_prompt(bodies.tokenizer(weights).tokenizer, 1)
    width = module.get_input_embeddings().weight.shape[1]
    compare(module, module, prompt, INJECTIONS[name], draw(5, 1, width))


@pytest.mark.parametrize("name", ["embedding, replaced, fixed length", "block, added, as long as the place"])
def test_several_vectors_stand_in_one_prompt(name: str, base: Path) -> None:
    bodies, weights = Bodies("", False, CPU), Weights(folder=base)
    module, prompt = bodies.module(weights), a_prompt(bodies.tokenizer(weights).tokenizer, 3)
    assert len(prompt.places) == 3 and prompt.ids.count(prompt.ids[prompt.places[0]]) == 4
    width = module.get_input_embeddings().weight.shape[1]
    compare(module, module, prompt, INJECTIONS[name], draw(4, 3, width))


@pytest.mark.parametrize("rslora", [False, True])
def test_an_adapter_is_run_beside_its_base(rslora: bool, base: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    for seed, name in ((1, "av"), (2, "ar")):
        write_adapter(tmp_path / name, base, seed, use_rslora=rslora)
    bodies = Bodies(str(base), True, CPU)
    av, ar = (Weights(adapter=read_adapter(tmp_path / name)) for name in ("av", "ar"))
    before = {name: weight.clone() for name, weight in bodies.module(Weights(folder=base)).named_parameters()}
    both = bodies.module(ar)
    assert bodies.module(av) is both, "one base for both"
    slow = with_peft(base, tmp_path / "av")
    prompt = a_prompt(bodies.tokenizer(av).tokenizer, 1)
    width = both.get_input_embeddings().weight.shape[1]
    compare(
        bodies.module(av),
        slow.base_model.model,
        prompt,
        Injection(block=1, how="add", length="place"),
        draw(4, 1, width),
    )
    # Nothing was merged, and without adapters the base is what it was.
    after = {name.replace(".layer.", "."): weight for name, weight in both.named_parameters()}
    assert all(torch.equal(before[name], after[name]) for name in before)
    ids = torch.tensor([prompt.ids])
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)(input_ids=ids).logits
    torch.testing.assert_close(bodies.module(Weights(folder=base))(input_ids=ids).logits, plain)
    assert not torch.allclose(bodies.module(av)(input_ids=ids).logits, plain, atol=1e-3)


def test_whitened_vectors() -> None:
    x, mean, scale = draw(3, 1, 8), draw(8, seed=1), np.abs(draw(8, seed=2)) + 1
    injection = Injection(length="raw", times=0.5, whitening=Whitening(mean=mean, scale=scale))
    np.testing.assert_allclose(lengthened(whitened(x, injection), injection), (x - mean) / scale / 2, rtol=1e-6)
