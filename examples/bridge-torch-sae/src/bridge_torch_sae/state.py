"""A state dict whose values may be anything; each is checked as it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError

Floats = NDArray[np.float32]


@final
class State:
    """Named values, and the file that they are of."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.values = path, values

    def array(self, name: str, ndim: int = 1) -> Floats:
        """Return a tensor as float32 of `ndim` dimensions.

        Raises:
            BridgeError: If it is missing, no tensor of floats, of other dimensions, empty, larger than what the file
                holds of it, or has NaN or infinite values.
        """
        import torch

        tensor = self.values.get(name)
        if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or tensor.is_quantized:
            raise self._refused(f"{name} is no plain tensor but {type(tensor).__name__}")
        if tensor.ndim != ndim or not tensor.is_floating_point() or not tensor.numel():
            found = f"{str(tensor.dtype).removeprefix('torch.')} of shape {tuple(tensor.shape)}"
            raise self._refused(f"{name} should be {ndim}-dimensional floats, and is {found}")
        # With strides of 0 a few bytes pass for terabytes.
        if tensor.is_meta or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise self._refused(f"{name} has shape {tuple(tensor.shape)}, and the file holds less of it")
        array: Floats = tensor.detach().float().numpy()
        if not np.isfinite(array).all():
            raise self._refused(f"{name} holds NaN or infinite values", "Its training diverged, or it is damaged.")
        return array

    def text(self, name: str, default: str) -> str:
        """Return a text, or the default where there is none.

        Raises:
            BridgeError: If it is no text.
        """
        value = self.values.get(name, default)
        if not isinstance(value, str):
            raise self._refused(f"{name} should be a text, and is {type(value).__name__}")
        return value

    def top_k(self, n_latents: int) -> int:
        """Return how many latents TopK keeps.

        Raises:
            BridgeError: If the file does not say, it is none or more than there are, or they are not rectified.
        """
        settings = self.values.get("activation_state_dict")
        if not isinstance(settings, Mapping):
            raise self._refused("activation_state_dict is missing, so TopK has no k")
        k, after = settings.get("k"), settings.get("postact_fn")
        if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= n_latents:
            raise self._refused(f"TopK keeps {str(k)[:80]} of {n_latents} latents")
        if after != "ReLU":
            raise self._refused(f"TopK is followed by {str(after)[:80]}; only ReLU is supported", "It is a variant.")
        return k

    def _refused(self, what: str, cause: str = "It is of another layout, or damaged.") -> BridgeError:
        return BridgeError(f"{self.path}: {what}.", cause=cause, remedy="Fetch it again.")
