"""Decode texts from vectors: one loop for single vectors, for blends read together, and for contrasts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, final

from bridge.readers.cache import roomy_cache
from bridge.readers.injection import inject, injecting
from bridge.readers.prompt import Placed
from bridge.readers.reader import Injection
from bridge.verbalizers import Blends, contrast_scores

if TYPE_CHECKING:
    from torch import Generator, Tensor

    Choose = Callable[[Tensor, Sequence[int]], list[int]]

CROWDED = 7 / 8
"""Share of a batch that must still be speaking: below, finished rows leave it. Leaving costs a copy of all keys."""


@final
class Speaker:
    """A language model that continues a fixed prompt with vectors in it.

    Args:
        module: A causal language model of transformers.
        prompt: The prompt, and where in it the vectors go.
        injection: How they go in.
        ends: Ids that end a text.
    """

    def __init__(self, module: Any, prompt: Placed, injection: Injection, ends: Sequence[int]) -> None:
        import torch

        self._module, self._injection, self._ends = module, injection, frozenset(ends)
        self._at = prompt.places[0]
        self._places = [place - self._at for place in prompt.places]
        with torch.inference_mode():
            # The model's own module, not its weight: Gemma's multiplies by sqrt(d_model) in its forward. A vector that
            # is put in its output's place is not multiplied, so the injection scale means the same in all families.
            self._embedded = module.get_input_embeddings()(torch.tensor(prompt.ids, device=module.device))
            self._prefix = roomy_cache(module.config)
            if self._at:
                # The tokens before the vectors do not see them: one row of keys and values serves every vector.
                self._prefix = self._run(self._prefix, inputs_embeds=self._embedded[None, : self._at])[1]

    def say(self, blends: Blends, new_tokens: int, choose: Choose) -> list[list[int]]:
        """Decode every direction from its blends together; see `contrast_scores`.

        Args:
            blends: Of the lengths that are injected; where the prompt takes several vectors, one after the other:
                (n, backgrounds, vectors, d) and (backgrounds, vectors, d).
            new_tokens: How many tokens a text may have.
            choose: Returns a token for each row of scores, (rows, vocabulary), given which directions the rows are of.

        Returns:
            For each direction the ids of its text, without the one that ended it.
        """
        import torch

        n, backgrounds = blends.vectors.shape[:2]
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
        """Read the prompt from the first vector on, and return the logits of the first token.

        Args:
            rows: (rows, d) float32, or (rows, vectors, d).
        """
        cache = copy.deepcopy(self._prefix)
        if self._at:
            cache.batch_repeat_interleave(len(rows))
        rows = rows.reshape(len(rows), len(self._places), -1)
        rest = self._embedded[self._at :].repeat(len(rows), 1, 1)
        if self._injection.block is None:
            return self._run(cache, inputs_embeds=inject(rest, rows, self._places, self._injection))
        with injecting(self._module, rows, self._places, self._injection):
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
