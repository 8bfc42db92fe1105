"""Which dtype `auto` means: bfloat16 where the device multiplies it faster than float32, float32 elsewhere."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable

from bridge.errors import UsageError

__all__ = ["AUTO", "DTYPES", "VARIABLE", "bfloat16_speed", "decided_dtype"]

AUTO = "auto"
DTYPES = ("bfloat16", "float32")
VARIABLE = "BRIDGE_DTYPE"
"""Environment variable that sets the meaning of `auto`, for machines that must use the same dtype."""

FASTER = 1.25
"""bfloat16 must be this many times as fast as float32 to be chosen: it rounds to 8 bits, so a tie goes to float32, and
what is near a tie must not be decided anew by every run."""

SIZE = {"cpu": 256, "mps": 1024, "cuda": 2048}
"""Rows and columns of the matrices that are multiplied: large enough to tell, small enough to take milliseconds even
where bfloat16 is emulated."""

ROUNDS = 7


def decided_dtype(dtype: str, device: str, speed: Callable[[str], float] | None = None) -> str:
    """Return `bfloat16` or `float32`.

    Args:
        dtype: One of these, or `auto`.
        device: `cpu`, `mps`, `cuda` or `cuda:N`, on which `auto` is decided.
        speed: Returns how many times as fast as float32 the device multiplies bfloat16; `bfloat16_speed` by default.

    Raises:
        UsageError: If the dtype is none of these; float16 is refused with the reason.
    """
    chosen = os.environ.get(VARIABLE, "") or AUTO if dtype == AUTO else dtype
    if chosen == "float16":
        raise UsageError(
            "float16 is not used for residual streams.",
            cause="Their norms reach 1e5 to 1e6 (Gemma), and float16 ends at 65504: activations would be infinite.",
            remedy=f"Use {AUTO}, {' or '.join(DTYPES)}.",
        )
    if chosen not in (AUTO, *DTYPES):
        given = f"{VARIABLE}={chosen}" if dtype == AUTO else chosen
        raise UsageError(f"There is no dtype {given}.", remedy=f"Use {AUTO}, {' or '.join(DTYPES)}.")
    if chosen != AUTO:
        return chosen
    return "bfloat16" if (speed or bfloat16_speed)(device) >= FASTER else "float32"


@functools.cache
def bfloat16_speed(device: str) -> float:
    """Measure how many times as fast as float32 a device multiplies bfloat16; once a process.

    The name of a processor is not enough: some have the instructions and are still slower with them. The
    fastest of some rounds is taken, with one thread on a CPU, so that other jobs of the machine hardly matter.

    Args:
        device: As torch names it.
    """
    import torch
    from threadpoolctl import threadpool_limits

    size = SIZE[device.partition(":")[0]]
    seconds = []
    # Not torch.set_num_threads: after it, MKL would no longer heed limits that others set by threadpoolctl.
    with threadpool_limits(1):
        for name in DTYPES:
            ones = torch.ones((size, size), dtype=getattr(torch, name), device=device)
            seconds.append(min(_seconds_of_product(ones) for _ in range(ROUNDS)))
    return seconds[1] / seconds[0]


def _seconds_of_product(matrix: object) -> float:
    from torch.nn.functional import linear

    start = time.perf_counter()
    float(linear(matrix, matrix)[0, 0])  # type: ignore[arg-type]  # reading a value waits for the device
    return time.perf_counter() - start
