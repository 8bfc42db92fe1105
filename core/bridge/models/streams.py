"""Several residual streams side by side, as AltUp and hyper-connections have them: one of them, or their mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from bridge.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

MEAN = "mean"
"""Name of the mean of all streams."""


@final
@dataclass(frozen=True)
class Streams:
    """Residual streams that blocks pass on in one tensor, of one axis more than (batch, tokens, d_model).

    Attributes:
        count: Number of streams; their names are `stream0` and so on.
        axis: Axis of the streams in the tensor.
        default: Stream of a point that names no stream: a stream's name, or `mean`.
    """

    count: int
    axis: int
    default: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names that a point may use."""
        return (*(f"stream{index}" for index in range(self.count)), MEAN)

    def read(self, value: Tensor, name: str) -> Tensor:
        """Return one stream, or the mean.

        Args:
            value: All streams.
            name: One of `names`, or empty for the default.

        Returns:
            (batch, tokens, d_model).
        """
        name = name or self.default
        return value.mean(self.axis) if name == MEAN else value.select(self.axis, self._index(name))

    def write(self, value: Tensor, name: str, changed: Tensor) -> Tensor:
        """Return all streams with one of them replaced.

        Args:
            value: All streams.
            name: As for `read`.
            changed: New value of the stream, (batch, tokens, d_model).

        Raises:
            UsageError: If the name means the mean.
        """
        self.need_one(name)
        value = value.clone()
        value.select(self.axis, self._index(name or self.default)).copy_(changed)
        return value

    def need_one(self, name: str) -> None:
        """Refuse to edit the mean.

        Args:
            name: As for `read`.

        Raises:
            UsageError: If the name means the mean.
        """
        if (name or self.default) == MEAN:
            raise UsageError(
                f"The mean of {self.count} residual streams cannot be edited.",
                cause="Many changes of the streams give the same mean, and the next block reads them differently.",
                remedy=f"Name one stream, as in 20.resid_post.stream0; there are {self.count}.",
            )

    def _index(self, name: str) -> int:
        return int(name.removeprefix("stream"))
