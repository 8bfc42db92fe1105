"""Freeing memory, and recognising out-of-memory errors."""

from __future__ import annotations

import gc


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
