"""The way back: the AR of a released or home-made autoencoder, from a text to the activation that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError, ModelError
from bridge.models import Placement
from bridge_verbalizers.nla.body import FINAL_NORMS, HEADS, last_hidden, remove_final_norm
from bridge_verbalizers.nla.checkpoint import load_module, load_tokenizer
from bridge_verbalizers.nla.sidecar import Sidecar

if TYPE_CHECKING:
    from torch import Tensor

HEAD = "value_head.safetensors"
UNUSED = tuple(
    f"{name}.{kind}" for name in (*HEADS, *(f".{norm}" for norm in FINAL_NORMS)) for kind in ("weight", "bias")
)
"""Ends of the names of weights that an AR does not use, and that its checkpoint need not have."""


@final
class Reconstructor:
    """Reads the last block's output at the last token of a text's prompt, through a linear head.

    Args:
        folder: The checkpoint.
        sidecar: What it says of itself.
        placement: Where and how it is held.
        batch: How many texts are run at once.

    Raises:
        ModelError: If its files are damaged, or it is not as deep or as wide as its sidecar says.
    """

    def __init__(self, folder: Path, sidecar: Sidecar, placement: Placement, batch: int) -> None:
        self._folder, self._sidecar, self._batch = folder, sidecar, batch
        self._tokenizer = load_tokenizer(folder)
        self._module = load_module(folder, placement, UNUSED)
        remove_final_norm(self._module)
        self._check_size(self._module.config.get_text_config())
        self._prompt("a text")
        self._head = _read_head(folder, sidecar.d_model).to(self._module.device, self._module.dtype)

    def reconstruct(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return the activations that texts stand for, (n, d_model) float32.

        Raises:
            BridgeError: If a text's prompt does not end as it must.
        """
        import torch

        # What has learnt nothing says the same of many vectors.
        different = list(dict.fromkeys(texts))
        prompts = [self._prompt(text) for text in different]
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found = np.empty((len(prompts), self._sidecar.d_model), np.float32)
        with torch.inference_mode():
            for start in range(0, len(order), self._batch):
                part = order[start : start + self._batch]
                hidden = last_hidden(self._module, [prompts[i] for i in part]).to(self._head.device)
                found[part] = (hidden @ self._head.T).float().cpu().numpy()
        place = {text: row for row, text in enumerate(different)}
        return found[[place[text] for text in texts]]

    def _prompt(self, text: str) -> list[int]:
        # With BOS, where its family has one: an AR is far worse without. It is read before an EOS that is appended.
        ids = self._tokenizer.prompt(self._sidecar.template.replace("{explanation}", text))
        suffix = self._sidecar.tokens.critic_suffix_ids or []
        if not ids or (suffix and ids[-len(suffix) :] != suffix):
            raise BridgeError(
                f"The prompt of {self._folder} ends with the tokens {ids[-len(suffix) :]}; its sidecar says {suffix}.",
                cause="The tokenizer is not the one that the AR was trained with.",
                remedy="Fetch the whole checkpoint again, its tokenizer files included.",
            )
        return ids

    def _check_size(self, config: Any) -> None:
        layer, blocks, width = self._sidecar.extraction.layer_index, config.num_hidden_layers, config.hidden_size
        if width != self._sidecar.d_model:
            raise ModelError(f"{self._folder} is {width} wide; its sidecar says {self._sidecar.d_model}.")
        if layer is not None and blocks != layer + 1:
            raise ModelError(
                f"{self._folder} has {blocks} blocks; the AR of block {layer} has {layer + 1}.",
                cause="It is not cut after the block whose output it gives back, or is another layer's.",
            )


def _read_head(folder: Path, d_model: int) -> Tensor:
    """Return the weight of the linear head, (d_model, d_model)."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    remedy = "Fetch or copy the whole checkpoint again."
    try:
        tensors: dict[str, Tensor] = load_file(folder / HEAD)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / HEAD} cannot be read ({error}).", remedy=remedy) from error
    weight = tensors.get("weight", next(iter(tensors.values()))) if tensors else None
    if weight is None or ("weight" not in tensors and len(tensors) > 1) or weight.shape != (d_model, d_model):
        found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        raise ModelError(f"{folder / HEAD} holds {found}, not one ({d_model}, {d_model}) matrix.", remedy=remedy)
    return weight
