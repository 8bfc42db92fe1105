"""How a check says that a law is broken: which law, on which input, and by how much."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConformanceError


@final
@dataclass
class Verdict:
    """What came of one law.

    Attributes:
        law: The law, as a sentence without its full stop.
        tried: On how many inputs it held.
        given: The first input on which it did not; empty where it holds.
        found: What came of that input, with numbers.
    """

    law: str
    tried: int = 0
    given: str = ""
    found: str = ""


_VERDICTS: ContextVar[dict[str, Verdict] | None] = ContextVar("bridge_verdicts", default=None)


@contextlib.contextmanager
def recording() -> Iterator[dict[str, Verdict]]:
    """Collect a verdict a law, in the order of trying, instead of stopping at the first one that is broken."""
    verdicts: dict[str, Verdict] = {}
    token = _VERDICTS.set(verdicts)
    try:
        yield verdicts
    finally:
        _VERDICTS.reset(token)


@final
class Laws:
    """The laws that one plugin must keep.

    Args:
        plugin: What to call the plugin in messages.
        contract: Where its laws are written down.
        slack: Differences of so many times as much are allowed.
    """

    def __init__(self, plugin: str, contract: str, slack: float = 1.0) -> None:
        self.plugin = plugin
        self.contract = contract
        self.slack = slack

    def require(self, holds: bool, law: str, given: str, found: str) -> None:
        """Refuse the plugin unless the law holds.

        Args:
            holds: Whether it does.
            law: The law, as a sentence without its full stop.
            given: The input that it was tried on.
            found: What came of it, with numbers.

        Raises:
            ConformanceError: If it does not hold, and verdicts are not recorded.
        """
        verdicts = _VERDICTS.get()
        if verdicts is not None:
            verdict = verdicts.setdefault(law, Verdict(law))
            verdict.tried += bool(holds)
            if not holds and not verdict.found:
                verdict.given, verdict.found = given, found
        elif not holds:
            raise ConformanceError(
                f"{self.plugin} breaks a law: {law}.",
                cause=f"Given {given}: {found}.",
                remedy=f"The law is in the docstring of {self.contract}.",
            )

    def shape(self, law: str, given: str, array: Any, shape: tuple[int, ...], dtype: type[np.generic]) -> None:
        """Require a finite numpy array of one shape and dtype.

        Raises:
            ConformanceError: If it is anything else.
        """
        if not isinstance(array, np.ndarray):
            self.require(False, law, given, f"{type(array).__name__} came back, not a numpy array")
        found = f"an array of shape {array.shape} and dtype {array.dtype} came back, not {shape} and {np.dtype(dtype)}"
        self.require(array.shape == shape and array.dtype == dtype, law, given, found)
        bad = int((~np.isfinite(array)).sum())
        self.require(bad == 0, law, given, f"{bad} of {array.size} values are NaN or infinite")

    def close(
        self, law: str, given: str, found: NDArray[Any], expected: NDArray[Any], tolerance: float, scale: float = 0.0
    ) -> None:
        """Require two finite arrays of one shape to agree.

        Args:
            law: The law.
            given: The input that it was tried on.
            found: Any shape, any float type.
            expected: The same shape.
            tolerance: Largest difference allowed, relative to the largest expected value; 0 for equal bits.
            scale: Measure the difference against this instead, where it is larger.

        Raises:
            ConformanceError: If they differ by more, naming the difference.
        """
        if found.shape != expected.shape:
            self.require(False, law, given, f"shape {found.shape} came back, not {expected.shape}")
        if not found.size:
            return
        worst = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
        limit = self.slack * tolerance * max(float(np.abs(expected).max()), scale)
        self.require(worst <= limit, law, given, f"the difference is {worst:.3g}, where {limit:.3g} is allowed")
