"""Send each request to the least busy of several servers, and leave out servers that fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, final

from bridge.errors import BridgeError
from bridge_verbalizers.serving.client import UnansweredError, attempt, connect, pause
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import Vector, extract
from bridge_verbalizers.serving.server import Server, listed

if TYPE_CHECKING:
    import httpx


@final
class NoServerError(BridgeError):
    """All servers failed."""


@final
class Dispatcher:
    """Requests explanations from several servers of the same AV, in one event loop.

    A request goes to the server with the fewest requests in flight. A server that does not answer is left out, and its
    requests go to the others. A busy server (429), and the last one, are asked again after growing waits before that.

    Args:
        clients: The servers, in the order in which equally busy ones are chosen, each with its client.
        left_out: Servers that are not used, with what happened; those that fail are added.
        concurrency: Maximal number of concurrent requests per server.
        timeout: Maximal time of a request, in seconds.
    """

    def __init__(
        self,
        clients: dict[Server, httpx.AsyncClient],
        left_out: MutableMapping[Server, BridgeError],
        concurrency: int,
        timeout: float,
    ) -> None:
        self._clients, self._left_out = clients, left_out
        self._concurrency, self._timeout = concurrency, timeout
        self._in_flight = dict.fromkeys(clients, 0)
        self._changed = asyncio.Event()

    async def ask(self, prompt: Prompt, vector: Vector) -> str:
        """Return the text about a vector, (d_model,) float32.

        Raises:
            NoServerError: If all servers failed; names each with what happened.
            BridgeError: If a server refuses the request, or its answer is invalid.
        """
        tried = 0
        while True:
            server = await self._least_busy()
            self._in_flight[server] += 1
            try:
                body = server.protocol.body(prompt, vector)
                answer = await attempt(self._clients[server], server.protocol.route, self._timeout, body)
                return extract(server.protocol.text, answer)
            except UnansweredError as error:
                failure = error
            except BridgeError as error:
                if len(self._clients) == 1:
                    raise
                raise BridgeError(f"{server}: {error.what}", cause=error.cause, remedy=error.remedy) from error
            finally:
                self._in_flight[server] -= 1
                self._changed.set()
            if (failure.busy or self._in_use() == [server]) and await pause(tried):
                tried += 1
            else:
                # The first cause is kept: other requests to this server were in flight, and may fail otherwise.
                self._left_out.setdefault(server, failure)
                self._changed.set()
                tried = 0

    def _in_use(self) -> list[Server]:
        return [server for server in self._clients if server not in self._left_out]

    async def _least_busy(self) -> Server:
        while servers := self._in_use():
            server = min(servers, key=self._in_flight.__getitem__)
            if self._in_flight[server] < self._concurrency:
                return server
            self._changed.clear()
            await self._changed.wait()
        if len(self._left_out) == 1:
            (error,) = self._left_out.values()
            raise NoServerError(error.what, cause=error.cause) from error
        raise NoServerError(f"None of the {len(self._left_out)} servers is left. {listed(self._left_out)}")


@asynccontextmanager
async def dispatching(
    servers: Sequence[Server], left_out: MutableMapping[Server, BridgeError], concurrency: int, timeout: float
) -> AsyncIterator[Dispatcher]:
    """Connect to the servers that are not left out, and yield what sends requests to them; see `Dispatcher`."""
    async with AsyncExitStack() as stack:
        clients = {
            server: await stack.enter_async_context(connect(server.url, concurrency))
            for server in servers
            if server not in left_out
        }
        yield Dispatcher(clients, left_out, concurrency, timeout)
