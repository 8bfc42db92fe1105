"""Freeing memory, recognising out-of-memory errors, and remembering what did not fit."""

from __future__ import annotations

import gc
from typing import final


@final
class Room:
    """What one worker learned about its memory: the smallest batch that did not fit.

    It saves trying such batches again, and decides no bits where a batch fits if and only if it has few enough tokens.
    """

    def __init__(self) -> None:
        self._too_many: int | None = None

    def may_hold(self, tokens: int) -> bool:
        """Tell whether a batch of this many padded tokens is worth trying."""
        return self._too_many is None or tokens < self._too_many

    def ran_out(self, tokens: int) -> None:
        """Remember that a batch of this many padded tokens did not fit."""
        self._too_many = tokens


def free_device_memory() -> None:
    """Release the memory that torch caches on the device, so that another model can use it."""
    import torch

    # Without a device there is nothing to give back, and accelerate takes a tenth of a second to load.
    if torch.accelerator.is_available():
        from accelerate.utils.memory import clear_device_cache

        clear_device_cache()


def forget_models() -> None:
    """Collect garbage: nnsight's wrappers form reference cycles, so models outlive their last use.

    Without this, two models would be in memory together.
    """
    gc.collect()
    free_device_memory()


def out_of_memory(error: Exception) -> bool:
    """Tell whether an error means that the memory of the machine or of a device is full."""
    import torch

    # accelerate's `should_reduce_batch_size` does not recognise the CPU's "not enough memory" and MemoryError.
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in text for words in ("allocate memory", "not enough memory", "out of memory")
    )
