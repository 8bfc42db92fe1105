"""The reconstructor of a reader: from an explanation to the activation that it describes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, ModelError
from bridge.readers.bodies import Bodies
from bridge.readers.body import FINAL_NORMS, HEADS, hidden_after, last_hidden, remove_final_norm
from bridge.readers.matrices import read_affine
from bridge.readers.reader import EXPLANATION, Reconstruction

if TYPE_CHECKING:
    from torch import Tensor

UNUSED = tuple(
    f"{name}.{kind}" for name in (*HEADS, *(f".{norm}" for norm in FINAL_NORMS)) for kind in ("weight", "bias")
)
"""Ends of names of tensors that a reconstructor does not use; they may be missing in its checkpoint."""


@final
class Reconstructor:
    """Applies a linear head to a block's output at the last token of a prompt with an explanation.

    Args:
        described: Its description.
        bodies: Loads its model.
        batch: Number of texts per batch.

    Raises:
        ModelError: If its files are damaged, or its depth or width differs from the description.
    """

    def __init__(self, described: Reconstruction, bodies: Bodies, batch: int) -> None:
        self._described, self._bodies, self._batch = described, bodies, batch
        self._folder = bodies.folder(described.weights)
        self._tokenizer = bodies.tokenizer(described.weights)
        module = self._module()
        # A base model that is shared with the reader keeps its norm; the output of the block is read by a hook.
        if described.weights.folder and described.norm_stripped:
            remove_final_norm(module)
        self._check_size(module.config.get_text_config())
        self._prompt("a text")
        head = read_affine(described.head, described.d_model)
        self._head, self._bias = (
            None if part is None else part.to(module.device, module.dtype) for part in (head.weight, head.bias)
        )

    def reconstruct(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the activations that texts describe, (n, d_model) float32.

        Raises:
            BridgeError: If the prompt does not end with the expected tokens.
        """
        import torch

        # Many vectors may have the same explanation.
        different = list(dict.fromkeys(texts))
        prompts = [self._prompt(text) for text in different]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found = np.empty((len(prompts), self._described.d_model), np.float32)
        module = self._module()
        with torch.inference_mode():
            for start in range(0, len(order), self._batch):
                part = order[start : start + self._batch]
                found[part] = self._rebuilt(module, [prompts[i] for i in part]).float().cpu().numpy()
        place = {text: row for row, text in enumerate(different)}
        return found[[place[text] for text in texts]]

    def _module(self) -> Any:
        return self._bodies.module(self._described.weights, UNUSED)

    def _rebuilt(self, module: Any, prompts: Sequence[list[int]]) -> Tensor:
        described, head = self._described, self._head
        assert head is not None
        if described.weights.folder:
            hidden = last_hidden(module, prompts)
        else:
            hidden = hidden_after(module, prompts, described.block, described.norm_stripped)
        hidden = hidden.to(head.device)
        if described.length is not None:
            hidden = hidden * (described.length / hidden.float().norm(dim=-1, keepdim=True)).to(hidden.dtype)
        found = hidden @ head.T
        return found if self._bias is None else found + self._bias

    def _prompt(self, text: str) -> list[int]:
        # Most ARs are trained with BOS, if their family has one, and are much worse without it. An EOS that a tokenizer
        # appends is removed.
        prompt = self._described.template.replace(EXPLANATION, text)
        plain = self._tokenizer.tokenizer
        special = self._described.special_tokens
        ids = self._tokenizer.prompt(prompt) if special else plain.encode(prompt, add_special_tokens=False)
        suffix = list(self._described.suffix)
        if not ids or (suffix and ids[-len(suffix) :] != suffix):
            raise BridgeError(
                f"The prompt of {self._folder} ends with the tokens {ids[-len(suffix) :]}; the sidecar says {suffix}.",
                cause="The tokenizer is not the one that the AR was trained with.",
                remedy="Fetch the whole checkpoint again, with its tokenizer files.",
            )
        return ids

    def _check_size(self, config: Any) -> None:
        block, blocks, width = self._described.block, config.num_hidden_layers, config.hidden_size
        if width != self._described.d_model and self._described.weights.folder:
            raise ModelError(f"{self._folder} has the width {width}; the sidecar says {self._described.d_model}.")
        if block is not None and self._described.weights.folder and blocks != block + 1:
            raise ModelError(
                f"{self._folder} has {blocks} blocks; the AR of block {block} has {block + 1}.",
                cause="It was not cut after the block whose output it reconstructs, or it belongs to another layer.",
            )
