"""One of the servers that run an AV, and the addresses that the option `url` holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, final
from urllib.parse import urlsplit

from bridge.errors import BridgeError, UsageError

if TYPE_CHECKING:
    from bridge_verbalizers.serving.protocol import Protocol


@final
@dataclass(frozen=True, eq=False)
class Server:
    """A server of an AV.

    Attributes:
        software: Name of the server software.
        url: Its address.
        launch: The command that starts it.
        protocol: Its protocol. Servers do not share one: each may run the AV under another name.
    """

    software: str
    url: str
    launch: str
    protocol: Protocol

    def __str__(self) -> str:
        """Return the software and the address, without a password in it: messages are kept with results."""
        secret = urlsplit(self.url).netloc.rpartition("@")[0]
        return f"{self.software} at {self.url.replace(f'{secret}@', '', 1) if secret else self.url}"


def urls_of(text: str) -> list[str]:
    """Return the addresses that the option `url` holds, separated by blanks; commas separate options.

    Raises:
        UsageError: If there is none, one is no address of a server, or one occurs twice.
    """
    urls = [url.rstrip("/") for url in text.split()]
    for url in urls or [text]:
        try:
            sound = urlsplit(url).scheme in ("http", "https") and bool(urlsplit(url).hostname) and port_of(url) > 0
        except ValueError:
            sound = False
        if not sound:
            raise UsageError(
                f"{url!r} is no address of a server.",
                remedy="Give one like http://127.0.0.1:8000, or several with blanks between them.",
            )
        if urls.count(url) > 1:
            raise UsageError(
                f"The server {url} is given twice.", cause="Its load is counted once.", remedy="Give it once."
            )
    return urls


def port_of(url: str) -> int:
    """Return the port of an address; raises ValueError if it is none."""
    address = urlsplit(url)
    return address.port or (443 if address.scheme == "https" else 80)


def listed(causes: Mapping[Server, BridgeError]) -> str:
    """Return a sentence for each server that failed: its name and what happened."""
    return " ".join(f"{server}: {error.what}" for server, error in causes.items())
