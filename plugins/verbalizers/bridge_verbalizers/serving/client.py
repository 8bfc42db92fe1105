"""An HTTP client that repeats requests after temporary failures, and reports permanent failures."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, final

from bridge.errors import BridgeError, UsageError, printable

if TYPE_CHECKING:
    import httpx

RETRIES = 5
FIRST_WAIT = 0.5
"""Seconds before the first repeat; doubled every time, and varied by half so that requests do not coincide."""

LARGEST_ANSWER = 4 * 2**20
BUSY = 429
QUOTED = 300
T = TypeVar("T")


@final
class UnansweredError(BridgeError):
    """A server is unreachable, not ready, or too slow; a repeated request may succeed.

    Attributes:
        busy: Whether the server works, and has too many requests.
    """

    busy = False


def connect(url: str, concurrency: int) -> httpx.AsyncClient:
    """Return a client for a server.

    Raises:
        UsageError: If httpx is not installed.
    """
    try:
        with _plain_objects():
            import anyio._backends._asyncio
            import anyio.streams.tls  # noqa: F401
            import httpx
    except ImportError as error:
        raise UsageError("A served verbalizer needs httpx.", remedy="pip install 'residual-bridge[serve]'.") from error
    # No timeout here: `attempt` limits the time of a whole request.
    return httpx.AsyncClient(
        base_url=url, timeout=None, limits=httpx.Limits(max_connections=concurrency), follow_redirects=False
    )


@contextmanager
def _plain_objects() -> Iterator[None]:
    """Remove the attribute `save`, which nnsight adds to every object of the process, while modules are loaded.

    anyio, which httpx would load at its first request, treats `save` as its own attribute without an annotation, and
    fails. The attribute is restored afterwards.
    """
    nnsight = sys.modules.get("nnsight")
    if nnsight is None or not hasattr(object, "save"):
        yield
        return
    from nnsight._c import mount, unmount

    unmount("save")
    try:
        yield
    finally:
        mount(nnsight.save, "save")


async def attempt(client: httpx.AsyncClient, route: str, timeout: float, body: bytes | None = None) -> Any:
    """GET a route, or POST a JSON body to it, and return the JSON answer; None for an empty answer.

    Raises:
        UnansweredError: If there is no answer in time, or a temporary failure (429, 5xx).
        BridgeError: If the answer is a refusal, too large, or not JSON.
    """
    import httpx

    # Not compressed: a small answer could unpack to a large one before its size is checked.
    headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
    raw = bytearray()
    try:
        async with asyncio.timeout(timeout):
            method = "GET" if body is None else "POST"
            async with client.stream(method, route, content=body, headers=headers) as response:
                async for chunk in response.aiter_raw():
                    raw += chunk
                    if len(raw) > LARGEST_ANSWER:
                        raise BridgeError(
                            f"The server's answer is larger than {LARGEST_ANSWER} bytes.",
                            cause=f"What answers at {client.base_url} is no server of language models.",
                        )
    except TimeoutError as error:
        raise UnansweredError(f"The server did not answer within {timeout:g} s.") from error
    except httpx.TransportError as error:
        raise UnansweredError(f"The server cannot be reached ({str(error) or type(error).__name__}).") from error
    quoted = printable(bytes(raw[:QUOTED]).decode("utf-8", "replace"))
    if response.status_code == BUSY or response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        unanswered = UnansweredError(f"The server answered with status {response.status_code}: {quoted}")
        unanswered.busy = response.status_code == BUSY
        raise unanswered
    if response.status_code != httpx.codes.OK:
        raise BridgeError(f"The server refused the request with status {response.status_code}: {quoted}")
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError) as error:
        raise BridgeError(f"The server's answer is no JSON: {quoted}") from error


async def insist(client: httpx.AsyncClient, route: str, timeout: float, body: bytes) -> Any:
    """POST as `attempt`, and repeat after growing waits on temporary failures."""
    tried = 0
    while True:
        try:
            return await attempt(client, route, timeout, body)
        except UnansweredError:
            if not await pause(tried):
                raise
            tried += 1


async def pause(tried: int) -> bool:
    """Wait before a request is repeated, or return False at once after the last repeat.

    Args:
        tried: Number of repeats so far; the wait doubles with each.
    """
    if tried >= RETRIES:
        return False
    await asyncio.sleep(FIRST_WAIT * 2**tried * random.uniform(0.5, 1.5))
    return True


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, also in a notebook, which already runs an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()
