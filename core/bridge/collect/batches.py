"""Batches of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, device


def pad(sequences: Sequence[NDArray[np.int64]]) -> tuple[Tensor, Tensor]:
    """Pad token ids on the right with id 0 and return ids and attention mask, both (batch, tokens) int64.

    Causal models never attend to the right, and the mask hides padding from other models. The padding id therefore does
    not matter, and positions start at 0.
    """
    import torch

    tensors = [torch.from_numpy(sequence) for sequence in sequences]
    ones = [torch.ones_like(tensor) for tensor in tensors]
    ids, mask = (torch.nn.utils.rnn.pad_sequence(some, batch_first=True) for some in (tensors, ones))
    return ids, mask


def flat_places(kept: Sequence[NDArray[np.int64]], longest: int) -> Tensor:
    """Return the positions of kept tokens in a padded batch whose texts are laid end to end, (kept tokens,) int64.

    Args:
        kept: For each text the positions of its kept tokens.
        longest: Number of tokens of every padded text.
    """
    import torch

    return torch.from_numpy(np.concatenate([row * longest + places for row, places in enumerate(kept)]))


def on_device(tensor: Tensor, device: device) -> Tensor:
    """Copy a tensor of the host to a device, without waiting for work that a CUDA device still has to do.

    Args:
        tensor: On the CPU.
        device: The device.
    """
    if device.type != "cuda":
        return tensor.to(device)
    # From memory that is not pinned, torch waits until all earlier kernels have ended.
    return tensor.pin_memory().to(device, non_blocking=True)
