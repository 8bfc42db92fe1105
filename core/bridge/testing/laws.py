"""Reports of broken laws: the law, the input and the deviation."""

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
    """The test result of one law.

    Attributes:
        law: The law, as a sentence without its full stop.
        tried: Number of inputs on which the law holds.
        given: The first input that breaks the law; empty if the law holds.
        found: The result for that input, with numbers.
    """

    law: str
    tried: int = 0
    given: str = ""
    found: str = ""


_VERDICTS: ContextVar[dict[str, Verdict] | None] = ContextVar("bridge_verdicts", default=None)


@contextlib.contextmanager
def recording() -> Iterator[dict[str, Verdict]]:
    """Collect one verdict per law, in the order of testing, instead of stopping at the first broken law."""
    verdicts: dict[str, Verdict] = {}
    token = _VERDICTS.set(verdicts)
    try:
        yield verdicts
    finally:
        _VERDICTS.reset(token)


@final
class Laws:
    """The laws for one plugin.

    Args:
        plugin: Name of the plugin in messages.
        contract: Class whose docstring has the laws.
        slack: Factor on the allowed differences.
    """

    def __init__(self, plugin: str, contract: str, slack: float = 1.0) -> None:
        self.plugin = plugin
        self.contract = contract
        self.slack = slack

    def require(self, holds: bool, law: str, given: str, found: str) -> None:
        """Refuse the plugin unless the law holds.

        Args:
            holds: Whether the law holds.
            law: The law, as a sentence without its full stop.
            given: The input.
            found: The result for the input, with numbers.

        Raises:
            ConformanceError: If the law does not hold, and verdicts are not recorded.
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
        """Require a finite numpy array of the given shape and dtype.

        Raises:
            ConformanceError: If the value is anything else.
        """
        if not isinstance(array, np.ndarray):
            self.require(False, law, given, f"the result is {type(array).__name__}, not a numpy array")
        found = f"the result has shape {array.shape} and dtype {array.dtype}, not {shape} and {np.dtype(dtype)}"
        self.require(array.shape == shape and array.dtype == dtype, law, given, found)
        bad = int((~np.isfinite(array)).sum())
        self.require(bad == 0, law, given, f"{bad} of {array.size} values are NaN or infinite")

    def close(
        self, law: str, given: str, found: NDArray[Any], expected: NDArray[Any], tolerance: float, scale: float = 0.0
    ) -> None:
        """Require two finite arrays of the same shape to agree.

        Args:
            law: The law.
            given: The input.
            found: Any shape, any float type.
            expected: The same shape.
            tolerance: Largest allowed difference, relative to the largest expected value; 0 for equal bits.
            scale: Reference value instead of the largest expected value, if larger.

        Raises:
            ConformanceError: If they differ by more; the message has the difference.
        """
        if found.shape != expected.shape:
            self.require(False, law, given, f"the result has shape {found.shape}, not {expected.shape}")
        if not found.size:
            return
        worst = float(np.abs(found.astype(np.float64) - expected.astype(np.float64)).max())
        limit = self.slack * tolerance * max(float(np.abs(expected).max()), scale)
        self.require(worst <= limit, law, given, f"the difference is {worst:.3g}, and {limit:.3g} is allowed")
