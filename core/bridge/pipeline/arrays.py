"""Arrays as callers have them: numpy or torch in, the same out, on the same device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ShapeError


def to_numpy(given: Any) -> NDArray[Any]:
    """Return a numpy array, or a torch tensor of any device and dtype, as numpy; half precision becomes float32.

    No gradient flows through: a tensor is detached.

    Raises:
        ShapeError: If it is neither.
    """
    if isinstance(given, np.ndarray):
        return given
    if not hasattr(given, "detach"):
        raise ShapeError(f"A {type(given).__name__} has no shape: give a numpy array or a torch tensor.")
    import torch

    array: NDArray[Any] = given.detach().to("cpu", torch.promote_types(given.dtype, torch.float32)).numpy()
    return array


def as_given(computed: NDArray[Any], given: Any) -> Any:
    """Return what was computed as what was given: numpy or torch, on its device, in float32 or, if given, float64."""
    if isinstance(given, np.ndarray):
        return computed.astype(np.result_type(given.dtype, np.float32), copy=False)
    import torch

    # In two steps: some devices have no float64.
    return torch.from_numpy(computed).to(torch.promote_types(given.dtype, torch.float32)).to(given.device)
