"""A verbalizer whose model runs in a server: concurrent requests, and a journal of the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.readers.answer import parse
from bridge.verbalizers import Explanation, Verbalizer, check_vectors
from bridge_verbalizers.serving.client import run
from bridge_verbalizers.serving.dispatch import NoServerError, dispatching
from bridge_verbalizers.serving.journal import Journal, digest
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import Vector
from bridge_verbalizers.serving.server import Server


@final
class ServedVerbalizer(Verbalizer):
    """An AV in one server or several.

    Args:
        servers: The servers, checked.
        left_out: Servers that did not answer the check, with what happened.
        prompt: The AV's prompt.
        injection_char: Placeholder of the vector in the prompt's text.
        journal: Stored answers; new answers are added.
        concurrency: Maximal number of concurrent requests per server.
        timeout: Maximal time of a request, in seconds.
    """

    def __init__(
        self,
        servers: Sequence[Server],
        left_out: Mapping[Server, BridgeError],
        prompt: Prompt,
        injection_char: str,
        journal: Journal,
        *,
        concurrency: int,
        timeout: float,
    ) -> None:
        self.d_model = prompt.rows.shape[1]
        self._servers, self._unchecked, self._left_out = servers, left_out, dict(left_out)
        self._prompt, self._journal, self._injection_char = prompt, journal, injection_char
        self._concurrency, self._timeout = concurrency, timeout

    def explain(self, vectors: NDArray[np.float32]) -> list[Explanation]:
        """Explain vectors of shape (n, d_model), float32; vectors with a stored answer are not requested again.

        Raises:
            ShapeError: If the vectors have another width.
            BridgeError: If a vector is zero or not finite, or the server gives no answer or an invalid answer.
        """
        check_vectors(vectors, self.d_model)
        keys = [self._key(vector) for vector in vectors]
        wanted = {key: row for key, row in zip(keys, vectors, strict=True) if key not in self._journal.answers}
        if wanted:
            run(self._ask(wanted))
        return [parse(self._journal.answers[key], self._injection_char) for key in keys]

    def notes(self) -> list[str]:
        """Return a note for each server that was left out while others answered."""
        return [
            f"{server} was left out, and its requests went to the other servers: {error.what}"
            for server, error in self._left_out.items()
        ]

    def _key(self, vector: Vector) -> str:
        # Only the data of the request: vectors that differ only in length are one request.
        return digest(self._prompt.row(vector).float().numpy().tobytes())

    @property
    def _which(self) -> str:
        return "a server" if len(self._servers) + len(self._unchecked) > 1 else "the server"

    async def _ask(self, wanted: dict[str, Vector]) -> None:
        waiting = iter(wanted.items())
        failures: list[BridgeError] = []
        with self._journal.writing() as keep:
            async with dispatching(self._servers, self._left_out, self._concurrency, self._timeout) as dispatcher:

                async def work() -> None:
                    """Request one explanation after the other."""
                    # All workers share one iterator. After a failure no request starts, and pending answers are stored.
                    for key, vector in waiting:
                        try:
                            keep(key, await dispatcher.ask(self._prompt, vector))
                        except BridgeError as error:
                            failures.append(error)
                        if failures:
                            return

                workers = min(self._concurrency * len(self._servers), len(wanted))
                await asyncio.gather(*(work() for _ in range(workers)))
        if any(isinstance(failure, NoServerError) for failure in failures):
            # The next call asks them again. Servers that were never checked may run another model: they stay out.
            self._left_out = dict(self._unchecked)
        if failures:
            done = sum(key in self._journal.answers for key in wanted)
            raise BridgeError(
                f"{failures[0].what} {done} of {len(wanted)} explanations that were missing came before that, and are "
                f"kept in {self._journal.path}.",
                cause=failures[0].cause,
                remedy=f"Start {self._which} again: `{self._servers[0].launch}`. The same command then continues from "
                "there.",
            ) from failures[0]
