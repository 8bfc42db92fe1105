"""Protocols of the kinds of servers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge_verbalizers.serving.prompt import Prompt

if TYPE_CHECKING:
    import httpx

Vector = NDArray[np.float32]
T = TypeVar("T")


class Protocol(ABC):
    """The protocol of one kind of server.

    Attributes:
        route: The route for prompts.
    """

    route: str

    @abstractmethod
    async def models(self, client: httpx.AsyncClient, timeout: float) -> list[str]:
        """Return the names under which the server runs its model; raises as `client.attempt`."""

    @abstractmethod
    def body(self, prompt: Prompt, vector: Vector) -> bytes:
        """Write the request for an explanation of a vector, (d_model,) float32."""

    @abstractmethod
    def probe(self, prompt: Prompt, vector: Vector) -> bytes:
        """Write a request for one token and the likeliest alternatives."""

    @abstractmethod
    def text(self, answer: Any) -> str:
        """Find the text in an answer; raises LookupError, TypeError or AttributeError if there is none."""

    @abstractmethod
    def likeliest(self, answer: Any) -> Any:
        """Find the likeliest tokens in a probe's answer, with their probabilities; raises as `text`."""


def extract(find: Callable[[Any], T], answer: Any) -> T:
    """Return the value that a function finds in a server's answer.

    Raises:
        BridgeError: If the answer does not have the value.
    """
    try:
        return find(answer)
    except (LookupError, TypeError, AttributeError) as error:
        raise BridgeError(
            "The server's answer does not hold what was asked for.",
            cause="It is another kind of server, or of a version with another protocol.",
        ) from error


def str_of(value: Any) -> str:
    """Return a value that is a string; raises TypeError for other types."""
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value
