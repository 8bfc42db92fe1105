"""Decoding of texts from vectors: one loop for single vectors, blends with backgrounds, and contrasts."""

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
"""If a smaller share of a batch is unfinished, finished rows are removed from it, which copies all keys and values."""


@final
class Speaker:
    """A language model that continues a fixed prompt into which vectors are injected.

    Args:
        module: A causal language model of transformers.
        prompt: The prompt, with the positions of the vectors.
        injection: How the vectors are injected.
        ends: Ids of tokens that end a text.
    """

    def __init__(self, module: Any, prompt: Placed, injection: Injection, ends: Sequence[int]) -> None:
        import torch

        self._module, self._injection, self._ends = module, injection, frozenset(ends)
        self._at = prompt.places[0]
        self._places = [place - self._at for place in prompt.places]
        with torch.inference_mode():
            # The module, not its weight: Gemma's module multiplies by sqrt(d_model). A vector that replaces its output
            # is not multiplied, so the length of injected vectors has one meaning for all families.
            self._embedded = module.get_input_embeddings()(torch.tensor(prompt.ids, device=module.device))
            self._prefix = roomy_cache(module.config)
            if self._at:
                # Tokens before the first vector do not depend on it: their keys and values are computed once.
                self._prefix = self._run(self._prefix, inputs_embeds=self._embedded[None, : self._at])[1]

    def say(self, blends: Blends, new_tokens: int, choose: Choose) -> list[list[int]]:
        """Decode one text for each direction, from all of its blends; see `contrast_scores`.

        Args:
            blends: Vectors with their final lengths; for a prompt with several vectors, (n, backgrounds, vectors, d)
                and (backgrounds, vectors, d).
            new_tokens: Token limit of a text.
            choose: Returns a token for each row of scores, (rows, vocabulary), given the directions of the rows.

        Returns:
            The token ids of each direction's text, without the token that ended it.
        """
        import torch

        n, backgrounds = blends.vectors.shape[:2]
        rows = torch.from_numpy(blends.vectors).flatten(0, 1)
        streams = torch.arange(len(rows)).view(n, backgrounds)
        if blends.beta:
            # Prompts with a background alone are run once; each direction continues from a copy.
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
        """Run the prompt from the first vector on, and return the logits of the first new token.

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
        # No mask: all prompts have the same length, so there is no padding.
        out = self._module(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return out.logits[:, -1], out.past_key_values


def likeliest(scores: Tensor, rows: Sequence[int]) -> list[int]:
    """Return the most likely token of every row."""
    chosen: list[int] = scores.argmax(1).tolist()
    return chosen


def sampler(temperature: float, seeds: Sequence[int]) -> Choose:
    """Return a function that samples tokens with one generator per direction: no text depends on its batch."""
    import torch

    generators: list[Generator] = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(scores: Tensor, rows: Sequence[int]) -> list[int]:
        chances = (scores / temperature).softmax(1).cpu()
        return [int(chances[i].multinomial(1, generator=generators[row])) for i, row in enumerate(rows)]

    return draw


def _select(logits: Tensor, cache: Any, rows: Tensor) -> Tensor:
    # Indices stay on the CPU: the layers of a model may be on different GPUs.
    cache.batch_select_indices(rows.flatten())
    return logits[rows.flatten()]
