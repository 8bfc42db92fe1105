"""A verbalizer whose model runs in a server: concurrent requests, and a journal of the answers."""

from __future__ import annotations

import asyncio
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import BridgeError
from bridge.readers.answer import parse
from bridge.verbalizers import Explanation, Verbalizer, check_vectors
from bridge_verbalizers.serving.client import connect, insist, run
from bridge_verbalizers.serving.journal import Journal, digest
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import Protocol, Vector, extract


@final
class ServedVerbalizer(Verbalizer):
    """An AV in a server.

    Args:
        protocol: Protocol of the server.
        url: Address of the server.
        launch: The command that starts it.
        prompt: The AV's prompt.
        injection_char: Placeholder of the vector in the prompt's text.
        journal: Stored answers; new answers are added.
        concurrency: Maximal number of concurrent requests.
        timeout: Maximal time of a request, in seconds.
    """

    def __init__(
        self,
        protocol: Protocol,
        url: str,
        launch: str,
        prompt: Prompt,
        injection_char: str,
        journal: Journal,
        *,
        concurrency: int,
        timeout: float,
    ) -> None:
        self.d_model = prompt.rows.shape[1]
        self._protocol, self._url, self._prompt, self._journal = protocol, url, prompt, journal
        self._launch, self._injection_char = launch, injection_char
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

    def _key(self, vector: Vector) -> str:
        # Only the data of the request: vectors that differ only in length are one request.
        return digest(self._prompt.row(vector).float().numpy().tobytes())

    async def _ask(self, wanted: dict[str, Vector]) -> None:
        waiting = iter(wanted.items())
        failures: list[BridgeError] = []
        with self._journal.writing() as keep:
            async with connect(self._url, self._concurrency) as client:

                async def work() -> None:
                    """Request one explanation after the other."""
                    # All workers share one iterator. After a failure no request starts, and pending answers are stored.
                    for key, vector in waiting:
                        try:
                            body = self._protocol.body(self._prompt, vector)
                            answer = await insist(client, self._protocol.route, self._timeout, body)
                            keep(key, extract(self._protocol.text, answer))
                        except BridgeError as error:
                            failures.append(error)
                        if failures:
                            return

                await asyncio.gather(*(work() for _ in range(min(self._concurrency, len(wanted)))))
        if failures:
            done = sum(key in self._journal.answers for key in wanted)
            raise BridgeError(
                f"{failures[0].what} {done} of {len(wanted)} explanations that were missing came before that, and are "
                f"kept in {self._journal.path}.",
                cause=failures[0].cause,
                remedy=f"Start the server again: `{self._launch}`. The same command then continues from there.",
            ) from failures[0]
