"""Threads for independent parts of a task, which divide the linear algebra library's threads among themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar, final

Item = TypeVar("Item")
Result = TypeVar("Result")


@final
class Workers:
    """A pool of threads, as many as the linear algebra library may use, or fewer with several library threads each.

    The library's own threads synchronise after every panel of a product by busy waiting, which costs more than the
    product if another job runs. The threads of this pool synchronise once per task, and the results do not depend on
    their number.

    Args:
        most: Maximal number of threads: each may need its own memory.
    """

    def __init__(self, most: int | None = None) -> None:
        self.count = 1
        self._most = most
        self._pool: ThreadPoolExecutor | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        from threadpoolctl import threadpool_info, threadpool_limits

        pools = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        threads = max(pools, default=1)
        self.count = min(threads, self._most or threads)
        if self.count > 1:
            self._open.enter_context(threadpool_limits(threads // self.count, user_api="blas"))
            self._pool = self._open.enter_context(ThreadPoolExecutor(self.count))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool = None
        self._open.close()

    def map(self, task: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Return the task's result for every item, in order."""
        return list(map(task, items) if self._pool is None else self._pool.map(task, items))
