"""A reader whose vectors are added to the output of a block, beside transformers' own `generate` on the same prompts.

The base model has the shape that is asked for and random weights: what it says does not matter for its speed. All ways
write the same number of tokens of the same vectors, greedily, and none stops early. `generate` runs whole prompts, with
the same hook in its first pass; the adapter is low-rank, on every linear layer of every block, and never merged.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import bridge_toys.zoo
from bridge.models import Placement
from bridge.models.transformers_adapter import quiet
from bridge.readers import Injection, Message, Prompt, Weights, read_adapter
from bridge.readers.bodies import Bodies
from bridge.readers.decoding import Speaker, likeliest
from bridge.readers.injection import injecting, lengthened
from bridge.readers.prompt import placed
from bridge.verbalizers import Blends
from fit import show, spread

TOKENIZER = Path(bridge_toys.zoo.__file__).parent / "checkpoints/tiny-gemma/verbalizers/2/av"
INJECTION = Injection(block=1, how="add", length="place")
RATIOS = {"generate": "batched", "adapter": "batched", "one_by_one": "batched"}
"""Each way, and the one that it is compared with."""


def write_base(folder: Path, layers: int, width: int, vocabulary: int) -> None:
    """Write a random model of the Llama family; heads of 64, a third of them for keys, an MLP 8/3 as wide."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    heads = max(1, width // 64)
    config = LlamaConfig(
        hidden_size=width,
        intermediate_size=width * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads // 3 if heads % 3 == 0 else heads,
        vocab_size=vocabulary,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    with quiet():
        LlamaForCausalLM(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(folder)


def write_adapter(folder: Path, base: Path, rank: int) -> None:
    """Write a random adapter of every linear layer of its blocks."""
    import warnings

    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=names, init_lora_weights=False)
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)


class Ways:
    """The ways to write texts of the same vectors; each returns the tokens of each."""

    def __init__(self, folder: Path, asked: argparse.Namespace) -> None:
        write_base(folder / "base", asked.layers, asked.width, asked.vocabulary)
        write_adapter(folder / "adapter", folder / "base", asked.rank)
        placement = Placement(dtype=asked.dtype)
        # Two copies: a model with an adapter that takes no part still asks every layer whether it does.
        self.plain = Bodies("", False, placement).module(Weights(folder=folder / "base"))
        weights = Weights(adapter=read_adapter(folder / "adapter"))
        bodies = Bodies(str(folder / "base"), False, placement)
        adapted = bodies.module(weights)
        tokenizer = bodies.tokenizer(weights).tokenizer
        prompt = Prompt(
            messages=(Message(content="What does <concept>{vectors}</concept> stand for, in a few words?"),),
            placeholder="~",
        )
        self.prompt = placed(tokenizer, prompt)
        for module in (self.plain, adapted):
            # Nothing may end a text: ways whose texts ended elsewhere would not be comparable.
            module.generation_config.eos_token_id = None
        self.speakers = [Speaker(module, self.prompt, INJECTION, []) for module in (self.plain, adapted)]
        self.new_tokens, self.at_once = asked.new_tokens, asked.batch
        drawn = np.random.default_rng(0).normal(size=(asked.vectors, asked.width)).astype(np.float32)
        self.vectors = lengthened(drawn, INJECTION)

    def batched(self, at_once: int = 0, speaker: int = 0) -> list[list[int]]:
        """Run bridge's own loop."""
        said: list[list[int]] = []
        for start in range(0, len(self.vectors), at_once or self.at_once):
            part = self.vectors[start : start + (at_once or self.at_once), None]
            said += self.speakers[speaker].say(Blends(part, part[0, :0]), self.new_tokens, likeliest)
        return said

    def one_by_one(self) -> list[list[int]]:
        """Run bridge's own loop with one vector at a time."""
        return self.batched(1)

    def adapter(self) -> list[list[int]]:
        """Run bridge's own loop on the model with the adapter."""
        return self.batched(speaker=1)

    def generate(self) -> list[list[int]]:
        """Run `generate` on whole prompts in batches of the same size, with a hook that adds the vectors."""
        import torch

        said: list[list[int]] = []
        ids = torch.tensor(self.prompt.ids)
        for start in range(0, len(self.vectors), self.at_once):
            rows = torch.from_numpy(self.vectors[start : start + self.at_once])[:, None]
            given = ids.repeat(len(rows), 1)
            with torch.inference_mode(), at_first(self.plain, rows, self.prompt.places):
                out = self.plain.generate(
                    given,
                    attention_mask=torch.ones_like(given),
                    max_new_tokens=self.new_tokens,
                    do_sample=False,
                    pad_token_id=0,
                )
            said += out[:, len(ids) :].tolist()
        return said


@contextmanager
def at_first(module: Any, rows: Any, places: Sequence[int]) -> Iterator[None]:
    """Add vectors in the first forward pass alone."""
    with ExitStack() as stack:
        stack.enter_context(injecting(module, rows, places, INJECTION))
        handle = module.register_forward_hook(lambda *_: stack.close())
        try:
            yield
        finally:
            handle.remove()


def measure(ways: Ways, rounds: int, names: list[str], clock: Callable[[], float]) -> dict[str, Any]:
    """Time every way in turn, several rounds after a warm-up round, in one process."""
    said = {name: getattr(ways, name)() for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        # Another one first each time: a machine that slows down must not slow the same way every round.
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            start = clock()
            getattr(ways, name)()
            seconds[name].append(clock() - start)
    ratios = {
        f"seconds of {name} / {own}": spread([a / b for a, b in zip(seconds[name], seconds[own], strict=True)])
        for name, own in RATIOS.items()
        if name in names
    }
    same = float(np.mean([a == b for a, b in zip(said["generate"], said["batched"], strict=True)]))
    sizes = {"prompt_tokens": len(ways.prompt.ids), "new_tokens": ways.new_tokens}
    per_second = {name: spread([len(ways.vectors) / one for one in values]) for name, values in seconds.items()}
    return {**sizes, "explanations_per_second": per_second, "ratios": ratios, "share_of_equal_texts": same}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--layers", type=int, default=30, help="blocks; the defaults are the shape of SmolLM2-135M")
    parser.add_argument("--width", type=int, default=576)
    parser.add_argument("--vocabulary", type=int, default=49152)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--vectors", type=int, default=16)
    parser.add_argument("--new-tokens", type=int, default=20)
    parser.add_argument("--batch", type=int, default=16, help="sequences at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32", choices=["bfloat16", "float32"])
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, on a busy machine")
    parser.add_argument("--one-by-one", action="store_true", help="time single vectors, too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    names = ["batched", "generate", "adapter", *(["one_by_one"] if asked.one_by_one else [])]
    with tempfile.TemporaryDirectory() as folder:
        given = {name: getattr(asked, name) for name in ("layers", "width", "rank", "vectors", "batch", "dtype")}
        clock = time.process_time if asked.cpu_time else time.perf_counter
        found = measure(Ways(Path(folder), asked), asked.rounds, names, clock)
        show({"benchmark": "readers", **given, **found}, asked.json)


if __name__ == "__main__":
    main()
