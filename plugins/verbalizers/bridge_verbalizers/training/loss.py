"""The training loss of a reader: vectors are injected into the prompt, and the response is scored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.readers.injection import block_of

if TYPE_CHECKING:
    from torch import Tensor

OTHERS = 4096
"""Number of tokens drawn in every step to represent all tokens that occur in no text."""

MEASURED_AT_ONCE = 32
"""Examples per forward pass while the loss is measured."""

IGNORED = -100
Floats = NDArray[np.float32]
Candidates = tuple[NDArray[np.int64], NDArray[np.float32]]
Inject = Callable[["Tensor", "Tensor"], AbstractContextManager["Tensor"]]
"""Takes vectors (batch, places, d_model) float32 and embedded prompts (batch, tokens, d_model). Inside the context, a
model that runs on the returned embeddings reads the vectors."""


def replacing(places: Sequence[int], scale: float) -> Inject:
    """Replace tokens' embeddings by vectors of a fixed length.

    Args:
        places: Positions of the tokens, one for each vector.
        scale: Length of the vectors.
    """

    @contextlib.contextmanager
    def inject(vectors: Tensor, embedded: Tensor) -> Iterator[Tensor]:
        """Yield the embedded prompts with the vectors in their place."""
        embedded = embedded.clone()
        scaled = vectors * (scale / vectors.norm(dim=-1, keepdim=True))
        embedded[:, list(places)] = scaled.to(embedded.device, embedded.dtype)
        yield embedded

    return inject


def adding(module: Any, places: Sequence[int], block: int) -> Inject:
    """Add vectors to a block's output h at some tokens, scaled to the norm of h there: h + |h| v / |v|.

    The norm is a constant in training: it has no gradient.

    Source: Activation Oracles, arXiv 2512.15674, section 2.

    Args:
        module: A causal language model of transformers.
        places: Positions of the tokens, one for each vector.
        block: Index of the block.
    """
    import torch

    @contextlib.contextmanager
    def inject(vectors: Tensor, embedded: Tensor) -> Iterator[Tensor]:
        """Yield the embedded prompts unchanged; the block adds the vectors while the context is open."""

        def add(_: Any, __: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            unit = torch.nn.functional.normalize(vectors, dim=-1).to(hidden.device)
            added, at = hidden.clone(), list(places)
            norm = hidden[:, at].detach().float().norm(dim=-1, keepdim=True)
            added[:, at] = added[:, at] + (norm * unit).to(hidden.dtype)
            return (added, *output[1:]) if isinstance(output, tuple) else added

        handle = block_of(module, block).register_forward_hook(add)
        try:
            yield embedded
        finally:
            handle.remove()

    return inject


def loss(
    module: Any,
    prompt: Sequence[int],
    inject: Inject,
    vectors: Tensor,
    responses_ids: Sequence[list[int]],
    among: Candidates | None,
) -> Tensor:
    """Return the mean cross-entropy of the responses, in nats per token.

    Args:
        module: A causal language model of transformers.
        prompt: Ids of the prompt.
        inject: Injects the vectors into the prompt.
        vectors: (batch, places, d_model) float32, of any length.
        responses_ids: Ids of the responses.
        among: The candidates of the step; None for the whole vocabulary.
    """
    import torch
    from torch.nn.functional import cross_entropy

    longest = max(map(len, responses_ids))
    ids = torch.tensor([[*prompt, *one, *[0] * (longest - len(one))] for one in responses_ids], device=module.device)
    targets = torch.tensor([[*one, *[IGNORED] * (longest - len(one))] for one in responses_ids], device=module.device)
    # The base model without its head: only response positions need the logits of the large vocabulary. Without a mask:
    # all padding is on the right, and a causal model does not attend to it.
    with inject(vectors, module.get_input_embeddings()(ids).detach()) as embedded:
        hidden = module.base_model(inputs_embeds=embedded, use_cache=False).last_hidden_state
    speaking = hidden[:, len(prompt) - 1 : -1][targets != IGNORED]
    wanted = targets[targets != IGNORED]
    head = module.get_output_embeddings()
    weight = head.weight
    bias = torch.zeros(len(weight), device=ids.device) if getattr(head, "bias", None) is None else head.bias
    if among is not None:
        order = torch.full((len(weight),), -1, device=ids.device)
        kept = torch.from_numpy(among[0]).to(ids.device)
        order[kept] = torch.arange(len(kept), device=ids.device)
        weight, bias, wanted = weight[kept], bias[kept], order[wanted]
    logits = (speaking @ weight.to(speaking.dtype).T).float() + bias
    cap = getattr(module.config.get_text_config(), "final_logit_softcapping", None)
    logits = cap * torch.tanh(logits / cap) if cap else logits
    return cross_entropy(logits if among is None else logits + torch.from_numpy(among[1]).to(ids.device), wanted)


def candidates(known: NDArray[np.int64], vocabulary: int, seed: Sequence[int]) -> Candidates | None:
    """Choose the tokens of one step's loss: a large vocabulary would take most of the time.

    Without tokens that occur in no text, the loss would not lower their probability, and the AV would write them.

    Args:
        known: Ids that occur in texts, in ascending order.
        vocabulary: Size of the vocabulary.
        seed: Seed of the step.

    Returns:
        The known ids followed by others, and the number added to each id's logit: the logarithm of the number of ids
        that it represents. None for the whole vocabulary.

    Source: sampled softmax without replacement; Jean et al., "On Using Very Large Target Vocabulary" (2015), section 3.
    """
    rest = np.setdiff1d(np.arange(vocabulary), known)
    if len(rest) <= OTHERS:
        return None
    others = np.random.default_rng(list(seed)).choice(rest, OTHERS, replace=False)
    stands_for = np.array([1, len(rest) / OTHERS])
    weights = np.repeat(np.log(stands_for).astype(np.float32), [len(known), OTHERS])
    return np.concatenate([known, others]), weights


def against_baselines(
    x: Floats,
    mean: Floats,
    responses_ids: Sequence[list[int]],
    measure: Callable[[Floats, Sequence[list[int]]], float],
) -> dict[str, float]:
    """Measure the loss with each text's vectors, with the mean vector, and with another text's vectors.

    Args:
        x: (n, places, d_model), of held-out texts.
        mean: (d_model,), of the training texts.
        responses_ids: Ids of the responses, one for each of the n.
        measure: Returns the mean loss of some vectors and responses, in nats per token.

    Returns:
        `loss`, `loss_mean_vector` and `loss_other_vector`, in nats per token.
    """
    arms = {
        "loss": x,
        "loss_mean_vector": np.broadcast_to(mean, x.shape).copy(),
        "loss_other_vector": np.roll(x, len(x) // 2, 0),
    }
    parts = [slice(start, start + MEASURED_AT_ONCE) for start in range(0, len(x), MEASURED_AT_ONCE)]
    sizes = [sum(map(len, responses_ids[part])) for part in parts]
    return {
        name: float(np.average([measure(rows[part], responses_ids[part]) for part in parts], weights=sizes))
        for name, rows in arms.items()
    }
