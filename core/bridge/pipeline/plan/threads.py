"""The number of computing threads."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

NARROW = 256
"""Width below which one thread is used: for small matrices, synchronising threads costs more than the product."""


def threads_for(width: int) -> AbstractContextManager[object]:
    """Return a context that sets the number of threads for matrices of this width.

    A narrow model gets one thread. Threads synchronise after every operation by busy waiting: next to another job, a
    network of width 64 took 40 times as long with two threads as with one.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1) if width < NARROW else nullcontext()
