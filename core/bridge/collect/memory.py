"""Device memory: giving it back, and recognising that it ran out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def free_device_memory() -> None:
    """Give memory that torch keeps for reuse back to the device, so that another model finds it free."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()


def out_of_memory(error: Exception) -> bool:
    """Tell whether an error means that the memory of the machine or of a device is full."""
    import torch

    # CPU and MPS raise a plain RuntimeError: "can't allocate memory", "not enough memory", "MPS backend out of memory".
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in text for words in ("allocate memory", "not enough memory", "out of memory")
    )
