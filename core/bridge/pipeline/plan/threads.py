"""How many threads compute."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

NARROW = 256
"""Models below this width are toys: their matrices are multiplied sooner than several threads have met."""


def threads_for(width: int) -> AbstractContextManager[object]:
    """Return a context in which matrices of this width are computed with as many threads as serve them.

    For a narrow model that is one. Threads meet after every operation, and wait for each other by spinning: beside
    another job of the machine, a network 64 wide took 40 times as long with two threads as with one.
    """
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1) if width < NARROW else nullcontext()
