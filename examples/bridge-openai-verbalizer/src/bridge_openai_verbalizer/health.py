"""Before anything is asked: the endpoint is there, and serves the model."""

from __future__ import annotations

from typing import Any

from bridge.errors import BridgeError, UsageError, printable
from bridge_openai_verbalizer.client import UnansweredError, attempt, insist
from bridge_openai_verbalizer.endpoint import Endpoint

SHOWN = 12


def find_model(endpoint: Endpoint, model: str) -> str:
    """Return the name of the model to ask: the given one if it is served, or the only one that is.

    Raises:
        UsageError: If it is not served, or several are and none is given.
        BridgeError: If the endpoint does not answer, or lists no models.
    """
    try:
        # Once more, and no oftener: what is down when the work begins seldom comes up by itself.
        names = insist(min(endpoint.retries, 1), lambda: _models(endpoint))
    except BridgeError as error:
        raise BridgeError(
            f"The endpoint {endpoint.url} cannot be used. {error.what}",
            cause=error.cause or "Its server is not running, or the address is another one's.",
            remedy="Try `curl ENDPOINT/models`; the address usually ends with /v1.",
        ) from error
    said = ", ".join(printable(name) for name in names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
    if not model and len(names) == 1:
        return names[0]
    # Some list models/NAME or NAME:latest, and take NAME.
    if not any(model in (name, name.rpartition("/")[2], name.partition(":")[0]) for name in names) or not model:
        what = f"does not serve {model}" if model else f"serves {len(names)} models"
        raise UsageError(f"The endpoint {endpoint.url} {what}.", remedy=f"Give model=NAME, one of {said or 'none'}.")
    return model


def _models(endpoint: Endpoint) -> list[str]:
    with endpoint.client() as client:
        answer: Any = attempt(client, endpoint, "/models")
    try:
        names = [card["id"] for card in answer["data"]]
    except (LookupError, TypeError) as error:
        raise UnansweredError("It lists no models.") from error
    return [endpoint.without_key(name) for name in names if isinstance(name, str)]
