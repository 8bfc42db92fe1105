"""Batches of token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


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
