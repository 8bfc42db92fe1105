"""The order of the training batches, and the responses as token ids."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ModelError
from bridge.models import TransformersTokenizer

WINDOW = 16
"""Number of batches whose examples are sorted by length together."""

Kind = TypeVar("Kind")


def schedule(
    lengths: Mapping[Kind, Sequence[int]], steps: int, batch: int, seed: int
) -> list[tuple[Kind, NDArray[np.intp]]]:
    """Choose every step's examples: the kinds alternate, and each kind repeats its examples.

    Args:
        lengths: Number of tokens of each example, by kind: a batch holds examples of similar length, to reduce
            padding.
        steps: Number of batches.
        batch: Number of examples in a batch.
        seed: Seed of the order.
    """
    rng = np.random.default_rng(seed)

    def batches(sizes: Sequence[int]) -> Iterator[NDArray[np.intp]]:
        while True:
            for window in np.array_split(rng.permutation(len(sizes)), -(-len(sizes) // (WINDOW * batch))):
                alike = window[np.argsort(np.asarray(sizes)[window], kind="stable")]
                parts = np.array_split(alike, -(-len(alike) // batch))
                for part in rng.permutation(len(parts)):
                    yield parts[part]

    turns = {kind: batches(sizes) for kind, sizes in lengths.items()}
    return [(kind, next(turns[kind])) for kind, _ in zip(cycle(turns), range(steps), strict=False)]


def transformers_tokenizer(loaded: Any) -> TransformersTokenizer:
    """Return the tokenizer of a loaded model of transformers.

    Raises:
        ModelError: If the model is not a transformers model.
    """
    tokenizer = loaded.tokenizer
    if not isinstance(tokenizer, TransformersTokenizer) or not hasattr(loaded.module, "get_input_embeddings"):
        raise ModelError(
            f"{loaded.name} is no model of transformers: no reader can be trained from it.",
            remedy="Use one that needs no training: --verbalizer logit_lens, exemplars or patchscope.",
        )
    return tokenizer


def response(tokenizer: TransformersTokenizer, text: str) -> list[int]:
    """Return the ids of a response, with the token that ends it.

    Raises:
        ModelError: If the tokenizer has no such token.
    """
    said = tokenizer.tokenizer.encode(text, add_special_tokens=False)
    if not tokenizer.ends():
        raise ModelError(
            f"The tokenizer of {tokenizer.name} has no token that ends a text, so a verbalizer could not stop.",
            remedy="Say which one it is: eos_token in its tokenizer_config.json.",
        )
    return [*said, tokenizer.ends()[0]]
