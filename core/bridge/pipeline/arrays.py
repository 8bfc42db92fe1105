"""Conversion of arrays: numpy or torch in, the same type out, on the same device."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ShapeError


def to_numpy(given: Any) -> NDArray[Any]:
    """Return a numpy array, or a torch tensor of any device and dtype, as numpy; half precision becomes float32.

    No gradient flows through: a tensor is detached.

    Raises:
        ShapeError: If the value is neither.
    """
    if isinstance(given, np.ndarray):
        return given
    if not hasattr(given, "detach"):
        raise ShapeError(f"A {type(given).__name__} has no shape: give a numpy array or a torch tensor.")
    import torch

    array: NDArray[Any] = given.detach().to("cpu", torch.promote_types(given.dtype, torch.float32)).numpy()
    return array


def as_given(computed: NDArray[Any], given: Any) -> Any:
    """Convert a result to the type of the input: numpy or torch, its device, float64 for float64, else float32."""
    if isinstance(given, np.ndarray):
        return computed.astype(np.result_type(given.dtype, np.float32), copy=False)
    import torch

    # In two steps, because some devices have no float64.
    return torch.from_numpy(computed).to(torch.promote_types(given.dtype, torch.float32)).to(given.device)
