"""Decode texts from vectors: one loop for single vectors, for blends read together, and for contrasts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.verbalizers import Blends, contrast_scores
from bridge_verbalizers.nla.cache import roomy_cache

if TYPE_CHECKING:
    from torch import Generator, Tensor

    Choose = Callable[[Tensor, Sequence[int]], list[int]]

CROWDED = 7 / 8
"""Share of a batch that must still be speaking: below, finished rows leave it. Leaving costs a copy of all keys."""


@final
class Speaker:
    """A language model that continues a fixed prompt with a vector in it.

    Args:
        module: A causal language model of transformers.
        prompt: Ids of the prompt.
        at: Where in it the vector goes, after one token at least.
        ends: Ids that end a text.
    """

    def __init__(self, module: Any, prompt: Sequence[int], at: int, ends: Sequence[int]) -> None:
        import torch

        self._module, self._at, self._ends = module, at, frozenset(ends)
        with torch.inference_mode():
            # The model's own module, not its weight: Gemma's multiplies by sqrt(d_model) in its forward. A vector that
            # is put in its output's place is not multiplied, so the injection scale means the same in all families.
            self._embedded = module.get_input_embeddings()(torch.tensor(prompt, device=module.device))
            # The tokens before the vector do not see it: one row of keys and values serves every vector.
            self._prefix = self._run(roomy_cache(module.config), inputs_embeds=self._embedded[None, :at])[1]

    def say(self, blends: Blends, new_tokens: int, choose: Choose) -> list[list[int]]:
        """Decode every direction from its blends together; see `contrast_scores`.

        Args:
            blends: Of the lengths that are injected.
            new_tokens: How many tokens a text may have.
            choose: Returns a token for each row of scores, (rows, vocabulary), given which directions the rows are of.

        Returns:
            For each direction the ids of its text, without the one that ended it.
        """
        import torch

        n, backgrounds, _ = blends.vectors.shape
        rows = torch.from_numpy(blends.vectors).flatten(0, 1)
        streams = torch.arange(len(rows)).view(n, backgrounds)
        if blends.beta:
            # The prompts with a background alone are read once, and each direction continues from a copy of them.
            alone = torch.arange(len(rows), len(rows) + backgrounds)
            rows = torch.cat([rows, torch.from_numpy(blends.backgrounds)])
            streams = torch.cat([streams, alone.expand(n, -1)], 1)
        said: list[list[int]] = [[] for _ in range(n)]
        batch, done = list(range(n)), [False] * n
        with torch.inference_mode():
            logits, cache = self._read(rows)
            if blends.beta:
                logits = _select(logits, cache, streams)
            for step in range(new_tokens):
                scores = contrast_scores(logits.view(len(batch), streams.shape[1], -1), backgrounds, blends.beta)
                chosen = choose(scores, batch)
                for row, token in zip(batch, chosen, strict=True):
                    done[row] = done[row] or token in self._ends
                    if not done[row]:
                        said[row].append(token)
                going = [place for place, row in enumerate(batch) if not done[row]]
                if not going or step + 1 == new_tokens:
                    break
                if len(going) < CROWDED * len(batch):
                    _select(logits, cache, torch.arange(len(logits)).view(len(batch), -1)[torch.tensor(going)])
                    batch, chosen = [batch[place] for place in going], [chosen[place] for place in going]
                tokens = torch.tensor(chosen).repeat_interleave(streams.shape[1])
                logits, cache = self._run(cache, input_ids=tokens[:, None].to(self._embedded.device))
        return said

    def _read(self, rows: Tensor) -> tuple[Tensor, Any]:
        """Read the prompt from each vector on, (rows, d_model), and return the logits of the first token."""
        cache = copy.deepcopy(self._prefix)
        cache.batch_repeat_interleave(len(rows))
        rest = self._embedded[self._at :].repeat(len(rows), 1, 1)
        rest[:, 0] = rows.to(rest.device, rest.dtype)
        return self._run(cache, inputs_embeds=rest)

    def _run(self, cache: Any, **inputs: Tensor) -> tuple[Tensor, Any]:
        # No mask: all prompts are equally long, so nothing is ever padded.
        out = self._module(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1], out.past_key_values


def likeliest(scores: Tensor, rows: Sequence[int]) -> list[int]:
    """Choose the best token of every row."""
    chosen: list[int] = scores.argmax(1).tolist()
    return chosen


def sampler(temperature: float, seeds: Sequence[int]) -> Choose:
    """Return what draws tokens, each direction by a generator of its own: no text depends on its batch."""
    import torch

    generators: list[Generator] = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(scores: Tensor, rows: Sequence[int]) -> list[int]:
        chances = (scores / temperature).softmax(1).cpu()
        return [int(chances[i].multinomial(1, generator=generators[row])) for i, row in enumerate(rows)]

    return draw


def _select(logits: Tensor, cache: Any, rows: Tensor) -> Tensor:
    # Indices stay on the CPU: the layers of a model that is spread over several GPUs are on different ones.
    cache.batch_select_indices(rows.flatten())
    return logits[rows.flatten()]
