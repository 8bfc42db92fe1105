"""nnsight's client of NDIF, made safe and patient: answers are unpickled as tensors only, and quotas are waited for."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar, final

import httpx
import torch
from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
from nnsight.schema.config import CONFIG
from nnsight.schema.request import RequestModel
from nnsight.schema.response import ResponseModel

from bridge.errors import BridgeError
from bridge_sources.ndif.words import of_answer, of_failure, unreachable

Found = TypeVar("Found")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
"""Seconds between two questions whether a job is done; each pause is twice the last one."""

BUSY = (429, 503)
"""Answers of a server that wants to be asked later."""

MORE = 1 << 20
"""Bytes that an answer may have besides the rows."""

SECONDS = 30.0
"""Time for a small answer."""


@final
class Job(RemoteBackend):  # type: ignore[misc]
    """One request to NDIF, submitted without a websocket and asked for until it is done.

    nnsight reads results by `torch.load(..., weights_only=False)`, which runs any code that a server sends. This class
    reads them by `weights_only=True`, and never reads a binary response.

    Args:
        model_key: nnsight's key of the model.
        env: nnsight's settings of the model for this request.
        patience: Seconds to wait for a server that is busy or has a quota.
        wait: Seconds to wait for the result.
        most: Bytes that the rows have.
    """

    def __init__(self, model_key: str, env: dict[str, Any], patience: float, wait: float, most: int) -> None:
        super().__init__(model_key, env=env, blocking=False)
        self.display.enabled = False  # it writes to standard output
        self._patience, self._wait, self._most = patience, wait, most + MORE

    def fetch(self) -> Any:
        """Return what was saved, once the job is done.

        Raises:
            BridgeError: If the job fails, or takes too long.
        """
        until, pause = time.monotonic() + self._wait, FIRST_PAUSE
        while time.monotonic() < until:
            if (found := self._told(self._poll_once)) is not None:
                return found
            time.sleep(min(pause, max(until - time.monotonic(), 0.0)))
            pause = min(2 * pause, LONGEST_PAUSE)
        state = self.status.value if self.status else "unknown"
        raise BridgeError(
            f"The job {self.job_id} on {self.host} was not done after {self._wait:g} s; its state is {state}.",
            cause="The model's queue is long, or the model is being deployed.",
            remedy="Run the command again later: finished shards are kept. The option wait=SECONDS waits longer.",
        )

    def finalize(self, content: bytes) -> Any:
        """Decompress a result, and read it without running what it says.

        Raises:
            BridgeError: If it is larger than what was asked for, or holds anything but tensors in plain containers.
        """
        try:
            if self.compress:
                import zstandard

                with zstandard.ZstdDecompressor().stream_reader(content) as stream:
                    content = stream.read(self._most + 1)
            if len(content) > self._most:
                raise of_answer(self.host, f"more than {self._most:,} bytes")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except BridgeError:
            raise
        except Exception as error:  # the unpickler and the decompressor raise many kinds of errors
            raise of_answer(self.host, f"no tensors ({str(error).splitlines()[0]})") from error

    @staticmethod
    def parse(message: str | bytes) -> ResponseModel:
        """Read a status update, which is JSON; a binary one would be unpickled.

        Raises:
            BridgeError: If it is binary.
        """
        if isinstance(message, bytes):
            raise of_answer(CONFIG.API.HOST, "a binary status")
        return ResponseModel.model_validate_json(message)

    def _post(self, request: RequestModel, blob: bytes) -> ResponseModel:
        """Submit, and submit again later where the server asks for that."""
        until, pause = time.monotonic() + self._patience, FIRST_PAUSE
        while True:
            try:
                response = super()._post(request, blob)
                self.note(response)
                return response
            except RemoteError as error:
                answer = getattr(error.__cause__, "response", None)
                asked = _seconds(answer) if answer is not None else None
                if asked is None or time.monotonic() + max(asked, pause) > until:
                    raise of_failure(self.host, error, self._patience) from error
                time.sleep(max(asked, pause))
                pause = min(2 * pause, LONGEST_PAUSE)

    def _poll_once(self) -> Any:
        return self.poll()

    def _told(self, ask: Callable[[], Found]) -> Found | None:
        """Return an answer; None where the connection failed for once, which is tried again."""
        try:
            return ask()
        except RemoteError as error:
            raise of_failure(self.host, error, self._patience) from error
        except httpx.HTTPStatusError as error:
            if error.response.status_code in BUSY:
                return None
            raise of_failure(self.host, error, self._patience) from error
        except httpx.TransportError:
            return None
        except ValueError as error:  # pydantic's, of a status that is none
            raise of_answer(self.host, "no status of a job") from error


def deployments() -> list[dict[str, Any]]:
    """Ask the server which models it has.

    Returns:
        Records with `repo_id`, `revision` and `application_state`.

    Raises:
        BridgeError: If it cannot be reached, or is no server of NDIF.
    """
    host = CONFIG.API.HOST
    key = CONFIG.API.APIKEY
    try:
        answer = httpx.get(f"{host}/status", timeout=SECONDS, headers={"ndif-api-key": key} if key else None)
        answer.raise_for_status()
        found = answer.json()["deployments"]
        return [dict(one) for one in found.values()]
    except httpx.HTTPStatusError as error:
        raise of_failure(host, error, 0.0) from error
    except httpx.HTTPError as error:
        raise unreachable(host, error) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise of_answer(host, "no list of models") from error


def _seconds(answer: httpx.Response) -> float | None:
    """Return how long a busy server wants to be left alone; None if it is not busy."""
    if answer.status_code not in BUSY:
        return None
    try:
        return float(answer.headers.get("retry-after", 0))
    except ValueError:  # a date: the pauses of this client are long enough
        return 0.0
