"""Explanations per second of an NLA checkpoint: batched, one at a time, and by transformers' own `generate`.

All ways write the same number of tokens of the same random vectors, greedily, and none stops early. Contrast (every
direction in one background, beside the background alone) is timed as it is, and with every prompt read from its start.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import bridge_toys.zoo
from bridge.models import Placement
from bridge.readers import Injection
from bridge.readers.decoding import Speaker, likeliest
from bridge.readers.loading import load_module, load_tokenizer
from bridge.readers.prompt import placed
from bridge.verbalizers import Blends, contrast_scores
from bridge_verbalizers.nla.layout import AV, prompt_of
from bridge_verbalizers.nla.sidecar import read_sidecar
from fit import show, spread

if TYPE_CHECKING:
    from torch import Tensor

BETA = 0.8
BUNDLED = Path(bridge_toys.zoo.__file__).parent / "checkpoints/tiny-gemma/verbalizers/2"
RATIOS = {"one_by_one": "batched", "generate": "batched", "contrast_whole_prompts": "contrast"}
"""Each way, and the one of bridge's that is compared with it."""


class Ways:
    """The ways to write texts of the same vectors; each returns the tokens of each."""

    def __init__(self, folder: Path, dtype: str, count: int, new_tokens: int, batch: int) -> None:
        sidecar = read_sidecar(folder, "av")
        self.module = load_module(folder, Placement(dtype=dtype))
        # Nothing may end a text: ways whose texts ended elsewhere would not be comparable.
        self.module.generation_config.eos_token_id = None
        found = placed(load_tokenizer(folder).tokenizer, prompt_of(sidecar))
        self.prompt, self.at = found.ids, found.places[0]
        self.speaker = Speaker(self.module, found, Injection(), [])
        self.new_tokens, self.batch = new_tokens, batch
        rows = np.random.default_rng(0).normal(size=(count + 1, sidecar.d_model)).astype(np.float32)
        length = sidecar.injection_scale or np.sqrt(sidecar.d_model)
        rows *= np.float32(length) / np.linalg.norm(rows, axis=1, keepdims=True)
        self.vectors, self.background = rows[:count], rows[count:]

    def batched(self, at_once: int = 0) -> list[list[int]]:
        """Run bridge's own loop."""
        at_once = at_once or self.batch
        parts = [self.vectors[start : start + at_once, None] for start in range(0, len(self.vectors), at_once)]
        return [
            one
            for part in parts
            for one in self.speaker.say(Blends(part, self.background[:0]), self.new_tokens, likeliest)
        ]

    def one_by_one(self) -> list[list[int]]:
        """Run bridge's own loop with one vector at a time."""
        return self.batched(1)

    def generate(self) -> list[list[int]]:
        """Run `generate` on whole prompts, in batches of the same size."""
        import torch

        said: list[list[int]] = []
        for start in range(0, len(self.vectors), self.batch):
            embedded = self._prompts(self.vectors[start : start + self.batch])
            mask = torch.ones(embedded.shape[:2], dtype=torch.long, device=embedded.device)
            with torch.inference_mode():
                given = {"max_new_tokens": self.new_tokens, "do_sample": False, "pad_token_id": 0}
                said += self.module.generate(inputs_embeds=embedded, attention_mask=mask, **given).tolist()
        return said

    def contrast(self) -> list[list[int]]:
        """Run bridge's own contrast: two sequences a direction."""
        said = []
        for start in range(0, len(self.vectors), max(1, self.batch // 2)):
            blends = self._blends(start)
            said += self.speaker.say(Blends(blends[:, None], self.background, BETA), self.new_tokens, likeliest)
        return said

    def contrast_whole_prompts(self) -> list[list[int]]:
        """Decode contrasts without shared prompts: every sequence is read from its start."""
        import torch

        said: list[list[int]] = []
        for start in range(0, len(self.vectors), max(1, self.batch // 2)):
            blends = self._blends(start)
            pairs = np.stack([blends, np.broadcast_to(self.background, blends.shape)], 1)
            inputs: dict[str, Any] = {"inputs_embeds": self._prompts(pairs.reshape(-1, blends.shape[1]))}
            cache, tokens = None, []
            with torch.inference_mode():
                for _ in range(self.new_tokens):
                    out = self.module(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
                    cache = out.past_key_values
                    tokens.append(contrast_scores(out.logits[:, -1].view(len(blends), 2, -1), 1, BETA).argmax(1))
                    inputs = {"input_ids": tokens[-1].repeat_interleave(2)[:, None]}
            said += torch.stack(tokens, 1).tolist()
        return said

    def _blends(self, start: int) -> Any:
        return self.background + 3 * self.vectors[start : start + max(1, self.batch // 2)]

    def _prompts(self, vectors: Any) -> Tensor:
        import torch

        ids = torch.tensor(self.prompt, device=self.module.device)
        with torch.inference_mode():
            embedded = self.module.get_input_embeddings()(ids).repeat(len(vectors), 1, 1)
            embedded[:, self.at] = torch.from_numpy(vectors).to(embedded.device, embedded.dtype)
        found: Tensor = embedded
        return found


def measure(ways: Ways, rounds: int) -> dict[str, Any]:
    """Time every way in turn, several rounds after a warm-up round, in one process."""
    names = ["batched", "one_by_one", "generate", "contrast", "contrast_whole_prompts"]
    said = {name: getattr(ways, name)() for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        # Another one first each time: a machine that slows down must not slow the same way every round.
        for name in names[round_ % len(names) :] + names[: round_ % len(names)]:
            start = time.perf_counter()
            getattr(ways, name)()
            seconds[name].append(time.perf_counter() - start)
    ratios = {
        f"{own} / {name}": spread([b / a for a, b in zip(seconds[own], seconds[name], strict=True)])
        for name, own in RATIOS.items()
    }
    same = {
        f"{own} / {name}": float(np.mean([a == b for a, b in zip(said[own], said[name], strict=True)]))
        for name, own in RATIOS.items()
    }
    speeds = {name: spread([len(ways.vectors) / one for one in values]) for name, values in seconds.items()}
    sizes = {"prompt_tokens": len(ways.prompt), "before_the_vector": ways.at, "new_tokens": ways.new_tokens}
    return {**sizes, "explanations_per_second": speeds, "ratios": ratios, "share_of_equal_texts": same}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=BUNDLED, help="folder of an AV, or one that holds av/")
    parser.add_argument("--vectors", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=30)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16, 64], help="sequences at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"], choices=["bfloat16", "float32"])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    folder = options.checkpoint / AV if (options.checkpoint / AV).is_dir() else options.checkpoint
    for dtype in options.dtype:
        for batch in options.batch:
            ways = Ways(folder, dtype, options.vectors, options.new_tokens, batch)
            given = {"checkpoint": str(folder), "dtype": dtype, "vectors": options.vectors, "batch": batch}
            show({"benchmark": "verbalize", **given, **measure(ways, options.rounds)}, options.json)


if __name__ == "__main__":
    main()
