"""Tokens per second of generation, plain and steered: bridge, one text at a time without a cache, and transformers.

All ways go on with the same texts by the same number of tokens, greedily, and none stops early. `uncached` reads all of
a text again for every token, as bridge did before it kept keys and values; `transformers` is the model's own `generate`
on the batch padded on the left, steered by a hook that stays: the practical limit.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from bridge.corpus import BUNDLED, load_corpus
from bridge.models import LoadedModel, Placement
from bridge.pipeline.plan.runtime import open_runtime
from bridge.references import Site
from fit import show, spread

if TYPE_CHECKING:
    from torch import Tensor

WAYS = ("bridge", "uncached", "transformers")


class Ways:
    """The ways to go on with the same texts; each returns the tokens that it adds to each."""

    def __init__(self, model: LoadedModel, count: int, longest: int) -> None:
        import torch

        self.model, self.site = model, Site(model.n_layers // 2)
        documents = load_corpus(BUNDLED, max_documents=count).documents
        # Of unequal lengths, down to half, as prompts are.
        cuts = np.linspace(longest / 2, longest, count).astype(int)
        encoded = model.encode(documents, longest)
        self.prompts = [one.ids[:cut] for one, cut in zip(encoded, cuts, strict=True)]
        generator = torch.Generator().manual_seed(0)
        self.vectors = 3 * torch.randn((count, 1, 1, model.d_model), generator=generator)

    def bridge(self, new_tokens: int, steered: bool) -> list[list[int]]:
        """Run bridge's own."""
        edits = [{self.site: _adding(vector)} for vector in self.vectors] if steered else []
        return self.model.generate(self.prompts, new_tokens, edits, ends=())

    def uncached(self, new_tokens: int, steered: bool) -> list[list[int]]:
        """Read everything again for every token, one text after the other."""
        import torch

        said = []
        for prompt, vector in zip(self.prompts, self.vectors, strict=True):
            ids = torch.from_numpy(prompt)[None]
            for _ in range(new_tokens):
                edits = {self.site: _adding(vector)} if steered else {}
                logits = self.model.logits(ids, torch.ones_like(ids), edits)[:, -1]
                ids = torch.cat([ids, logits.argmax(-1, keepdim=True).cpu()], 1)
            said.append(ids[0, len(prompt) :].tolist())
        return said

    def transformers(self, new_tokens: int, steered: bool) -> list[list[int]]:
        """Run the model's own `generate`."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        module: Any = self.model.module
        ids = pad_sequence([torch.from_numpy(one) for one in self.prompts], True, 0, "left").to(module.device)
        ones = [torch.ones(len(one), dtype=torch.int64) for one in self.prompts]
        mask = pad_sequence(ones, True, 0, "left").to(module.device)
        handle = None
        if steered:
            block = module.get_submodule(self.model.layout.locate(self.site)[0])
            add = _adding(self.vectors[:, 0])
            handle = block.register_forward_hook(
                lambda _, given, out: (add(out[0]), *out[1:]) if isinstance(out, tuple) else add(out)
            )
        module.generation_config.eos_token_id = None
        with torch.inference_mode():
            given = {"max_new_tokens": new_tokens, "do_sample": False, "pad_token_id": 0}
            said = module.generate(ids, attention_mask=mask, **given)[:, ids.shape[1] :].tolist()
        if handle:
            handle.remove()
        return list(said)


def _adding(vector: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: value + vector.to(value.device, value.dtype)


def measure(ways: Ways, new_tokens: int, steered: bool, rounds: int) -> dict[str, Any]:
    """Time every way in turn, several rounds after a warm-up round of a few tokens, in one process."""
    said: dict[str, list[list[int]]] = {}
    wall: dict[str, list[float]] = {name: [] for name in WAYS}
    cpu: dict[str, list[float]] = {name: [] for name in WAYS}
    for name in WAYS:
        getattr(ways, name)(2, steered)
    for round_ in range(rounds):
        # Another one first each time: a machine that slows down must not slow the same way every round.
        for name in WAYS[round_ % 3 :] + WAYS[: round_ % 3]:
            start, used = time.perf_counter(), time.process_time()
            said[name] = getattr(ways, name)(new_tokens, steered)
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - used)
    tokens = new_tokens * len(ways.prompts)
    result: dict[str, Any] = {
        "tokens_per_second": {name: spread([tokens / one for one in wall[name]]) for name in WAYS}
    }
    for label, seconds in (("wall", wall), ("cpu", cpu)):
        result[f"ratios_{label}"] = {
            f"bridge / {name}": spread([b / a for a, b in zip(seconds["bridge"], seconds[name], strict=True)])
            for name in WAYS[1:]
        }
    result["share_of_equal_texts"] = {
        f"bridge / {name}": float(np.mean([a == b for a, b in zip(said["bridge"], said[name], strict=True)]))
        for name in WAYS[1:]
    }
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", default="tiny-gemma@2", help="as bridge takes it")
    parser.add_argument("--prompts", type=int, default=5, help="texts; bridge's and transformers' are one batch")
    parser.add_argument("--prompt-tokens", type=int, default=48, help="of the longest prompt")
    parser.add_argument("--new-tokens", type=int, nargs="+", default=[32, 200])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 leaves it as it is")
    parser.add_argument("--dtype", default="float32", choices=["bfloat16", "float32"])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    resolved = open_runtime().resolve(options.model)
    model = resolved.adapter.load(resolved.weights, Placement(dtype=options.dtype))
    ways = Ways(model, options.prompts, options.prompt_tokens)
    result: dict[str, Any] = {"benchmark": "generate", **vars(options)}
    for new_tokens in options.new_tokens:
        for steered in (False, True):
            label = f"{new_tokens} tokens{', steered' if steered else ''}"
            measured = measure(ways, new_tokens, steered, options.rounds)
            result |= {f"{label}: {name}": value for name, value in measured.items()}
    show(result, options.json)


if __name__ == "__main__":
    main()
