"""A tiny Llama whose weights are set by hand: it tells two vectors apart only if they are injected in a certain way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch

from bridge.readers.probe import unlike_vectors
from published_files import CHAR, adapted, tokenizer_of, write_base, write_lora_nla

Heard = Literal["add", "replace", "both", "neither"]
CLOSE = "</explanation>"
MARK, FIRST, LAST, WRITTEN, CLOSED, END = range(6)
"""Coordinates of the embeddings of tokens with a role."""
HEARD, OTHERS = slice(8, 20), slice(20, 32)
"""Coordinates that answers depend on, and those of all other tokens' embeddings, which have no part in an answer."""


def write_undecided(root: Path, heard: Heard) -> Path:
    """Write a base and an adapter that changes nothing, with a sidecar that does not say how vectors are injected.

    The vectors of the probe get the answers ` map` and ` stream` if they are heard, and both ` the` if not; the model
    then writes the closing tag and ends. It hears by one attention layer. In block 0 this cannot see what is added to
    the output of block 1. In block 2, `add` looks for the placeholder's own embedding, which a replacement removes, and
    otherwise looks at the first token.
    """
    base = root / "base"
    width = write_base(base, "llama")
    tokenizer = tokenizer_of(base)
    tokenizer.add_tokens([CLOSE])
    tokenizer.save_pretrained(base)
    _set_weights(base, tokenizer, width, heard)
    write_lora_nla(root / "reader", base, training={})
    # As an adapter begins: its second factor is zero.
    with torch.no_grad():
        model = adapted(base, target_modules=["q_proj"])
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.zero_()
    model.save_pretrained(root / "reader")
    return root / "reader"


def _set_weights(base: Path, tokenizer: Any, width: int, heard: Heard) -> None:
    from transformers import AutoModelForCausalLM

    from bridge.models.transformers_adapter import quiet

    with quiet(), torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        embedded, head = model.get_input_embeddings().weight, model.lm_head.weight
        embedded.zero_()
        head.zero_()
        embedded[:, OTHERS] = torch.randn(len(tokenizer), 12, generator=torch.Generator().manual_seed(0))
        one, other, neither = (
            tokenizer.encode(f" {word}", add_special_tokens=False) for word in ("map", "stream", "the")
        )
        answers = [ids[-1] for ids in (one, other, neither)]
        last = tokenizer.encode("<model>", add_special_tokens=False)[-1]
        roles = {MARK: [tokenizer.convert_tokens_to_ids(CHAR)], FIRST: [tokenizer.bos_token_id], LAST: [last]}
        roles |= {WRITTEN: answers, CLOSED: [tokenizer.convert_tokens_to_ids(CLOSE)], END: [tokenizer.eos_token_id]}
        for at, ids in roles.items():
            embedded[ids] = torch.eye(width)[at]
        directions = torch.linalg.qr(torch.from_numpy(unlike_vectors(width))[:, HEARD].T)[0].T
        directions *= (torch.from_numpy(unlike_vectors(width))[:, HEARD] * directions).sum(1, keepdim=True).sign()
        head[answers[:2], HEARD] = directions
        head[answers[2], LAST] = 0.01
        head[roles[CLOSED], WRITTEN] = 1000.0
        head[roles[END], CLOSED] = 1000.0
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.zero_()
            for part in ("q_proj", "k_proj", "v_proj", "o_proj"):
                getattr(layer.self_attn, part).weight.zero_()
        if heard != "neither":
            attention = model.model.layers[0 if heard == "replace" else 2].self_attn
            attention.v_proj.weight[:2, HEARD] = directions
            attention.o_proj.weight[HEARD, :2] = 100.0 * directions.T
            if heard == "add":
                # The slowest pair of a head's rotated coordinates: over a short prompt it hardly turns.
                attention.q_proj.weight[3, LAST] = 10.0
                attention.k_proj.weight[3, MARK], attention.k_proj.weight[3, FIRST] = 2.0, 1.0
        model.save_pretrained(base)
