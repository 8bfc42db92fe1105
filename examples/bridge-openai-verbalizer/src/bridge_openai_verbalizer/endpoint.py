"""Where requests go, with which key, and how patiently."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import httpx

from bridge.errors import UsageError, printable

QUOTED = 300
HERE = ("localhost", "127.0.0.1", "::1")


@final
@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible endpoint.

    Attributes:
        url: Without a slash at its end.
        key: Sent with every request; empty for none. It is in no message and no `repr`.
        why_no_key: What to say if the endpoint asks for one.
        concurrency: How many requests may be under way at once.
        timeout: How long one may take, in seconds; or one of its steps, until the answer begins.
        retries: How often it is asked again.

    Raises:
        UsageError: If the address is none, or the key is none or would be sent unencrypted.
    """

    url: str
    key: str = field(repr=False)
    why_no_key: str
    concurrency: int
    timeout: float
    retries: int

    def __post_init__(self) -> None:
        try:
            address = httpx.URL(self.url)
        except httpx.InvalidURL:
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host or address.userinfo:
            raise UsageError(f"{self.url!r} is no endpoint.", remedy="Give one like https://api.openai.com/v1.")
        if not self.key.isascii() or not self.key.isprintable() or " " in self.key:
            raise UsageError("The key holds characters that no key has.", remedy="Copy it again.")
        if self.key and address.scheme == "http" and address.host not in HERE:
            raise UsageError(
                f"The key would go to {self.url} unencrypted.", remedy="Give an endpoint that begins with https."
            )

    def client(self) -> httpx.Client:
        """Return a client, which threads may share.

        It is none for asyncio: nnsight, which bridge runs models with, gives every object an attribute `save`, and the
        library under httpx's client for asyncio (anyio 4.16) does not load any more once that has happened.
        """
        # Not compressed: a small answer could unpack to a large one before its size is known.
        headers = {"Accept-Encoding": "identity"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        # Redirects are not followed: the key goes to this address only.
        return httpx.Client(headers=headers, timeout=self.timeout, follow_redirects=False)

    def without_key(self, text: str) -> str:
        """Return a text in which the key is blotted out: an endpoint may say it back."""
        return text.replace(self.key, "***") if self.key else text

    def quoted(self, raw: bytes) -> str:
        """Return the beginning of an answer, for a message."""
        return self.without_key(printable(raw.decode("utf-8", "replace")))[:QUOTED]
