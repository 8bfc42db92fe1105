"""What NDIF's failures mean, in words."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.errors import BridgeError

KEY_HELP = "Get a key at https://login.ndif.us, and set NDIF_API_KEY or run `nnsight login`."
RESUME = "Finished shards are kept: the same command continues."
SHOWN = 8
"""Deployed models that a message lists."""


def unreachable(host: str, error: Exception) -> BridgeError:
    """Return the error of a server that does not answer."""
    return BridgeError(
        f"NDIF at {host} cannot be reached ({type(error).__name__}: {error}).",
        cause="There is no network, the address is wrong, or the service is down.",
        remedy=f"Look at https://nnsight.net/status, or set NDIF_HOST. {RESUME}",
    )


def of_answer(host: str, what: str) -> BridgeError:
    """Return the error of an answer that was not asked for."""
    return BridgeError(
        f"{host} answered with {what}.",
        cause="It is no server of NDIF, or one of another version; what it sent was not run.",
        remedy="Check NDIF_HOST, and compare versions: python -c 'import nnsight; print(nnsight.compare())'.",
    )


def no_key(host: str) -> BridgeError:
    """Return the error of a missing key."""
    return BridgeError(f"There is no key for NDIF at {host}.", remedy=KEY_HELP)


def not_deployed(host: str, wanted: str, running: Sequence[str]) -> BridgeError:
    """Return the error of a model that NDIF does not run."""
    some = ", ".join(sorted(running)[:SHOWN]) or "none"
    return BridgeError(
        f"NDIF at {host} does not run {wanted}.",
        cause=f"It runs {some}{', ...' if len(running) > SHOWN else ''}.",
        remedy="Choose one of these, wait until it is deployed, or add deploy=true if your key may deploy models.",
    )


def of_failure(host: str, error: Exception, patience: float) -> BridgeError:
    """Return the error of a request that was refused, or of a job that failed.

    Args:
        host: The server.
        error: nnsight's `RemoteError`, or an HTTP error.
        patience: Seconds that were waited for a busy server.
    """
    answer = getattr(error if hasattr(error, "response") else error.__cause__, "response", None)
    code = getattr(answer, "status_code", 0)
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    said = lines[-1].strip()
    if code in (401, 403) or "api key" in said.lower():
        return BridgeError(f"NDIF at {host} refuses the key: {said}.", cause="It is wrong or expired.", remedy=KEY_HELP)
    if code == 429:
        return BridgeError(
            f"NDIF at {host} has a quota, which is used up: {said}.",
            cause=f"It was still refused after {patience:g} s of waiting.",
            remedy=f"Run the command again later, or wait longer with patience=SECONDS. {RESUME}",
        )
    if code == 413:
        return BridgeError(
            f"NDIF at {host} refuses the request: it is too large ({said}).", remedy="Use a smaller --batch-size."
        )
    if code >= 500:
        return BridgeError(f"NDIF at {host} is not ready ({said}).", remedy=f"Try again later. {RESUME}")
    if code:
        return BridgeError(f"NDIF at {host} refuses the request: {said}.", remedy="Check NDIF_HOST.")
    if error.__cause__ is not None:  # no HTTP answer: the connection failed
        return unreachable(host, error)
    return BridgeError(
        f"The job failed on NDIF at {host}: {said}",
        cause="The model or a package there is of another version, memory ran out, or the job was stopped.",
        remedy=f"Use a smaller --batch-size or texts=N; compare versions with nnsight.compare(). {RESUME}",
    )
