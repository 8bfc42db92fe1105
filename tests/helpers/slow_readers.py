"""Slow references of published readers, by their sources' rules: plain transformers and peft, no cache, one text."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from published_files import AR_TEMPLATE, critic_of, tokenizer_of


def load(folder: Path, base: Path | None) -> Any:
    """Load an adapter on its base, or a whole checkpoint where there is no base, in float32."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from bridge.models.transformers_adapter import quiet

    # peft asks transformers whether gradients are checkpointed by a name that goes.
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = AutoModelForCausalLM.from_pretrained(base or folder, dtype=torch.float32)
        return (PeftModel.from_pretrained(model, folder) if base else model).eval()


def added(
    model: Any, ids: Sequence[int], places: Sequence[int], vectors: Tensor, coefficient: float = 1.0, block: int = 1
) -> tuple[Tensor, Tensor]:
    """Add each vector to a block's output h at its place: h + |h| v / |v| (Karvonen et al. 2025, equation 1).

    Returns:
        The logits after the last token, (vocabulary,), and what stands at the places then, (places, d_model).
    """
    found = {}

    def hook(module: Any, given: Any, output: Any) -> Any:
        hidden = (output[0] if isinstance(output, tuple) else output).clone()
        for place, vector in zip(places, vectors, strict=True):
            h = hidden[0, place].clone()
            hidden[0, place] = h + coefficient * h.norm() * vector / vector.norm()
        found["there"] = hidden[0, list(places)]
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    handle = blocks(model)[block].register_forward_hook(hook)
    try:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    finally:
        handle.remove()
    return logits, found["there"]


def replaced(model: Any, ids: Sequence[int], place: int, vector: Tensor, length: float) -> tuple[Tensor, Tensor]:
    """Put a vector of a length in the place of a token's embedding.

    Returns:
        The logits after the last token, (vocabulary,), and what stands at the place, (1, d_model).
    """
    with torch.inference_mode():
        embedded = model.get_input_embeddings()(torch.tensor([list(ids)])).clone()
        embedded[0, place] = vector * (length / vector.norm())
        return model(inputs_embeds=embedded, use_cache=False).logits[0, -1], embedded[0, [place]]


def written(read: Any, ids: Sequence[int], new_tokens: int, ends: Sequence[int]) -> list[int]:
    """Write greedily, everything read again for each token: `read(ids)` returns logits and what was injected."""
    said: list[int] = []
    while len(said) < new_tokens:
        token = int(read([*ids, *said])[0].argmax())
        if token in ends:
            break
        said.append(token)
    return said


def rebuilt(base: Path, strip: bool, texts: Sequence[str], scale: float | None = None) -> Tensor:
    """Return what EasyNLA's `critic_predict` makes of texts, (texts, d_model)."""
    critic, tokenizer = critic_of(base, strip), tokenizer_of(base)
    rows = []
    with torch.inference_mode():
        for text in texts:
            ids = tokenizer.encode(AR_TEMPLATE.replace("{explanation}", text), add_special_tokens=False)
            hidden = critic.backbone.model(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state[0, -1]
            length = scale or hidden.numel() ** 0.5
            rows.append(critic.value_head(hidden * (length / hidden.norm())))
    return torch.stack(rows)


def blocks(model: Any) -> Any:
    """Return the blocks of a causal language model, inside adapters and wrappers."""
    inner = model.get_base_model() if hasattr(model, "peft_config") else model
    body = getattr(inner.model, "language_model", inner.model)
    return body.layers
