"""Memory: giving it back, and recognising that it ran out."""

from __future__ import annotations


def free_device_memory() -> None:
    """Give memory that torch keeps for reuse back to the device, so that another model finds it free."""
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache()


def forget_models() -> None:
    """Free what nothing refers to any more: nnsight's wrappers refer to each other, so models outlive their last use.

    Without this, two models would be in memory together.
    """
    from accelerate.utils.memory import clear_device_cache

    clear_device_cache(garbage_collection=True)


def out_of_memory(error: Exception) -> bool:
    """Tell whether an error means that the memory of the machine or of a device is full."""
    import torch

    # Not accelerate's `should_reduce_batch_size`: it does not know the CPU's "not enough memory", nor MemoryError.
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in text for words in ("allocate memory", "not enough memory", "out of memory")
    )
