"""A patient HTTP client: asks again where that can help, no sooner than it is asked to, and says clearly if not."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, final

import httpx

from bridge.errors import BridgeError
from bridge_openai_verbalizer.endpoint import Endpoint

FIRST_WAIT = 0.5
"""Seconds before asking again; doubled every time, and spread by half so that many requests do not come at once."""

LONGEST_WAIT = 60.0
"""An endpoint that asks for more is not waited for."""

LARGEST = 2**20
T = TypeVar("T")


@final
class UnansweredError(BridgeError):
    """Asking again may help.

    Attributes:
        wait: How many seconds the endpoint asks to wait at least.
    """

    wait: float = 0.0


def attempt(client: httpx.Client, endpoint: Endpoint, route: str, body: dict[str, Any] | None = None) -> Any:
    """GET a route of the endpoint, or POST a JSON body to it, and return the JSON answer.

    Raises:
        UnansweredError: If there was no answer in time, one that asks to come back (408, 429, 5xx), or no JSON.
        BridgeError: If the answer is a refusal, or too large.
    """
    method, late = "GET" if body is None else "POST", time.monotonic() + endpoint.timeout
    raw = bytearray()
    try:
        with client.stream(method, endpoint.url + route, json=body) as response:
            for chunk in response.iter_raw():
                raw += chunk
                if len(raw) > LARGEST:
                    raise BridgeError(f"Its answer is larger than {LARGEST} bytes.", cause="It is no chat model's.")
                # The client's own timeout is of every step, and one byte a second would never be late.
                if time.monotonic() > late:
                    raise httpx.ReadTimeout("")
    except httpx.TimeoutException as error:
        raise UnansweredError(f"It did not answer within {endpoint.timeout:g} s.") from error
    except httpx.TransportError as error:
        raise UnansweredError(f"It cannot be reached ({str(error) or type(error).__name__}).") from error
    status, quoted = response.status_code, endpoint.quoted(bytes(raw))
    if status in (httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS) or response.is_server_error:
        busy = UnansweredError(f"It answered with status {status}: {quoted}")
        busy.wait = seconds(response.headers.get("Retry-After", ""))
        raise busy
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        cause = "The key is not valid there." if endpoint.key else endpoint.why_no_key
        raise BridgeError(f"It refused the request with status {status}: {quoted}", cause=cause)
    if status != httpx.codes.OK:
        cause = "The address lacks its /v1, or the endpoint does not take what it was asked."
        raise BridgeError(f"It refused the request with status {status}: {quoted}", cause=cause)
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnansweredError(f"Its answer is no JSON: {quoted}") from error


def insist(retries: int, ask: Callable[[], T]) -> T:
    """Return `ask()`, and try again after growing waits while that may help.

    Raises:
        BridgeError: As `attempt`, once all is tried, or where it would have to wait too long.
    """
    for tried in range(retries):
        try:
            return ask()
        except UnansweredError as error:
            if error.wait > LONGEST_WAIT:
                raise BridgeError(error.what, cause=f"It asks to come back after {error.wait:.0f} s.") from error
            pause(max(error.wait, FIRST_WAIT * 2**tried * random.uniform(0.5, 1.5)))
    return ask()


def pause(wait: float) -> None:
    """Wait some seconds."""
    time.sleep(wait)


def seconds(retry_after: str) -> float:
    """Return how long a Retry-After header asks to wait; 0 where it does not say (RFC 9110, section 10.2.3)."""
    if re.fullmatch(r"\d{1,9}(\.\d+)?", retry_after):
        return float(retry_after)
    try:
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return 0.0
