"""Conversion between a module's input or output and the activations of a site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from bridge.models.streams import Streams

if TYPE_CHECKING:
    from torch import Tensor


@final
@dataclass(frozen=True)
class View:
    """The activations of one site within a module's tensor.

    Attributes:
        shape: (batch, tokens, d_model).
        streams: Position of the residual streams, if there are several.
        stream: Name of the stream; empty for the default.
        exact: Whether the tensor must have this shape as it is, because a user named its module.
    """

    shape: tuple[int, ...]
    streams: Streams | None
    stream: str
    exact: bool

    def read(self, value: Tensor) -> Tensor:
        """Return the activations, (batch, tokens, d_model).

        Some MLPs, such as blocks of experts, return the tokens of all texts as rows, (batch * tokens, d_model): a point
        of a layout can be read from these rows.

        Args:
            value: The tensor.
        """
        if self.streams is not None:
            return self.streams.read(value, self.stream)
        rows = self.shape[0] * self.shape[1]
        return value.reshape(self.shape) if not self.exact and value.shape == (rows, self.shape[2]) else value

    def write(self, value: Tensor, changed: Tensor) -> Tensor:
        """Return the tensor with other activations.

        Args:
            value: The tensor.
            changed: The activations, (batch, tokens, d_model).
        """
        if self.streams is not None:
            return self.streams.write(value, self.stream, changed)
        return changed.reshape(value.shape)

    def need_editable(self) -> None:
        """Refuse an edit of the mean of streams.

        Raises:
            UsageError: If the site is the mean of streams.
        """
        if self.streams is not None:
            self.streams.need_one(self.stream)
