"""Speeds of this machine: matrix products, and reading memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bridge.errors import UsageError
from bridge.models import Placement

SIZE = 1024
"""Rows and columns of the matrices that are multiplied."""

NUMBERS = 1 << 25
"""Numbers that are read; more than caches hold."""

SECONDS = 0.3


def measured(device: str, dtype: str) -> tuple[float, float, str]:
    """Multiply square matrices, and read a long vector, for a moment.

    Args:
        device: The experiment's device; this machine's best one is measured if it is not here.
        dtype: The experiment's dtype.

    Returns:
        Operations per second, bytes per second, and a sentence about how they were measured.
    """
    import torch

    try:
        placement, elsewhere = Placement(device, dtype), ""
        there = placement.torch_device()
    except UsageError:
        placement = Placement()  # in the dtype that suits this machine
        there = placement.torch_device()
        elsewhere = f"; the experiment's device is {device}, whose speed --flops and --bandwidth give"
    kind: Any = getattr(torch, placement.dtype)
    one = torch.ones((SIZE, SIZE), dtype=kind, device=there)
    # A product of few rows reads a matrix once, as a step of decoding reads the weights.
    long, few = torch.ones((NUMBERS // SIZE, SIZE), dtype=kind, device=there), torch.ones((SIZE, 1), dtype=kind)
    few = few.to(there)
    products = 2 * SIZE**3 / _seconds(lambda: one @ one, there)
    reads = long.numel() * long.element_size() / _seconds(lambda: long @ few, there)
    how = f"measured: products of {SIZE} x {SIZE} matrices in {placement.dtype} on this machine ({there}){elsewhere}"
    return products, reads, how


def _seconds(work: Callable[[], Any], device: str) -> float:
    """Return the mean time of a call, with the device's."""
    import torch

    def finish() -> None:
        if "cuda" in device:
            torch.cuda.synchronize(device)

    work()
    finish()
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < SECONDS:
        work()
        finish()
        count += 1
    return (time.perf_counter() - start) / count
