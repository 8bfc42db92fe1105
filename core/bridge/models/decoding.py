"""Batched decoding: from a cache of keys and values, or by reading the whole texts again."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect.batches import pad
from bridge.errors import UsageError
from bridge.models.edits import together

if TYPE_CHECKING:
    from torch import Tensor

    from bridge.models.edits import Edits, Span

    Continue = Callable[[Tensor, Tensor, Tensor, Any, Edits], Any]
    Predict = Callable[[Tensor, Tensor, Edits], Tensor]

Ids = NDArray[np.int64]


class Decoding(ABC):
    """A batch of texts that a causal model reads in parts; made by `LoadedModel.decoding`.

    The predictions for a text equal those for the text alone and whole, up to rounding.

    Args:
        longest: Maximal number of tokens of a text.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._lengths: list[int] = []

    @final
    def read(self, parts: Sequence[Ids], edits: Sequence[Edits] = ()) -> Tensor:
        """Read the next part of every text.

        Args:
            parts: For each text the next ids, (tokens,) int64. First parts may have any lengths; later parts of a
                call have equal lengths.
            edits: For each text, by site, a function of the activations of these tokens only: (1, tokens, d_model)
                -> the same shape, without padding, on the model's device and in its dtype. Edits apply only to
                this part: pass edits of all positions with every part, and edits of a position in the prompt
                with the prompt. Empty for none.

        Returns:
            Logits of the token that follows each text, (texts, vocabulary), on the model's device and in its dtype.

        Raises:
            UsageError: If a part is empty, later parts differ in length, or a text becomes longer than `longest`.
        """
        before = self._lengths or [0] * len(parts)
        lengths = [old + len(part) for old, part in zip(before, parts, strict=True)]
        new = {len(part) for part in parts}
        if 0 in new:
            raise UsageError("A text has no tokens to continue from.", cause="It is empty, and gets no BOS.")
        if self._lengths and len(new) > 1:
            raise UsageError(f"Later parts of texts are as long as each other; these have {sorted(new)} tokens.")
        if max(lengths) > self._longest:
            raise UsageError(f"A text has {max(lengths)} tokens, where at most {self._longest} were announced.")
        self._lengths = lengths
        return self._read(parts, edits or [{}] * len(parts))

    @final
    def keep(self, texts: Sequence[int]) -> None:
        """Continue only the texts at these indices, in this order; an index that occurs twice gives two texts.

        Args:
            texts: Indices of the texts, from 0.
        """
        self._lengths = [self._lengths[text] for text in texts]
        self._keep(texts)

    @abstractmethod
    def _read(self, parts: Sequence[Ids], edits: Sequence[Edits]) -> Tensor:
        """Implement `read`."""

    @abstractmethod
    def _keep(self, texts: Sequence[int]) -> None:
        """Implement `keep`."""


@final
class Cached(Decoding):
    """Reads only new tokens, with the cached keys and values of earlier tokens. Texts are padded on the left.

    Args:
        longest: As for `Decoding`.
        forward: Runs the model on ids and positions, both (texts, new tokens), the mask of all tokens, and the cache,
            under edits; returns its output.
    """

    def __init__(self, longest: int, forward: Continue) -> None:
        super().__init__(longest)
        self._forward = forward
        self._cache: Any = None
        self._mask: Ids = np.zeros((0, 0), dtype=np.int64)

    def _read(self, parts: Sequence[Ids], edits: Sequence[Edits]) -> Tensor:
        import torch

        # On the left, so that all texts end together: attention windows count positions, and padding in the middle
        # would use some of them.
        width = max(map(len, parts))
        ids, mask = np.zeros((2, len(parts), width), dtype=np.int64)
        for row, part in enumerate(parts):
            ids[row, width - len(part) :] = part
            mask[row, width - len(part) :] = 1
        self._mask = np.concatenate([self._mask.reshape(len(parts), -1), mask], 1)
        positions = np.maximum(self._mask.cumsum(1)[:, -width:] - 1, 0)
        new, all_so_far, places = map(torch.from_numpy, (ids, self._mask, positions))
        spans = [[(width - len(part), width, own)] for part, own in zip(parts, edits, strict=True)]
        output = self._forward(new, all_so_far, places, self._cache, together(spans))
        self._cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits

    def _keep(self, texts: Sequence[int]) -> None:
        import torch

        self._mask = self._mask[texts]
        with torch.inference_mode():
            # Indices stay on the CPU: the layers of a model that is spread over several GPUs are on different ones.
            self._cache.batch_select_indices(torch.tensor(texts))


@final
class Whole(Decoding):
    """Reads every text from its start each time, with the edits of each part; works for any model.

    Texts of one length are read together, without padding: LongRoPE's angles depend on the longest of a batch.

    Args:
        longest: As for `Decoding`.
        logits: `LoadedModel.logits`.
    """

    def __init__(self, longest: int, logits: Predict) -> None:
        super().__init__(longest)
        self._logits = logits
        self._texts: list[list[tuple[Ids, Edits]]] = []

    def _read(self, parts: Sequence[Ids], edits: Sequence[Edits]) -> Tensor:
        import torch

        before = self._texts or [[] for _ in parts]
        self._texts = [[*text, new] for text, new in zip(before, zip(parts, edits, strict=True), strict=True)]
        order = sorted(range(len(parts)), key=self._lengths.__getitem__)
        found = []
        for _, group in itertools.groupby(order, self._lengths.__getitem__):
            texts = [self._texts[row] for row in group]
            ids, mask = pad([np.concatenate([part for part, _ in text]) for text in texts])
            found.append(self._logits(ids, mask, together([_spans(text) for text in texts]))[:, -1])
        return torch.cat(found)[np.argsort(order)]

    def _keep(self, texts: Sequence[int]) -> None:
        self._texts = [self._texts[text] for text in texts]


def generate(
    decoding: Decoding, prompts: Sequence[Ids], new_tokens: int, edits: Sequence[Edits], ends: Collection[int]
) -> list[list[int]]:
    """Continue texts by the likeliest token each time; see `LoadedModel.generate`."""
    added: list[list[int]] = [[] for _ in prompts]
    going, parts = list(range(len(prompts))), list(prompts)
    for _ in range(new_tokens):
        logits = decoding.read(parts, [edits[text] for text in going] if edits else ())
        chosen = logits.argmax(-1).tolist()
        kept = [place for place, token in enumerate(chosen) if token not in ends]
        for place in kept:
            added[going[place]].append(chosen[place])
        if not kept:
            break
        if len(kept) < len(going):
            decoding.keep(kept)
        going, parts = [going[place] for place in kept], [np.array([chosen[place]]) for place in kept]
    return added


def _spans(text: Sequence[tuple[Ids, Edits]]) -> list[Span]:
    ends = np.cumsum([len(part) for part, _ in text]).tolist()
    return [(end - len(part), end, own) for end, (part, own) in zip(ends, text, strict=True)]
