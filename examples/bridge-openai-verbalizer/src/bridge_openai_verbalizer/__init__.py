"""A chat model behind an OpenAI-compatible endpoint says what the texts share where a vector is most active."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

from bridge.errors import UsageError
from bridge.hookspecs import hookimpl
from bridge.verbalizers import Subject, Verbalizer, VerbalizerBackend

if TYPE_CHECKING:
    from bridge_openai_verbalizer.endpoint import Endpoint

bridge_api = "1.0"

ENDPOINT, KEY = "BRIDGE_OPENAI_ENDPOINT", "BRIDGE_OPENAI_API_KEY"
"""Environment variables. The key is in no option, since options are written into every run's folder."""


@final
@dataclass(frozen=True)
class OpenAIChat(VerbalizerBackend):
    """Excerpts as of `exemplars`, and what a language model makes of them: the usual automatic interpretation.

    Attributes:
        endpoint: Such as `https://api.openai.com/v1`; by default what the environment's BRIDGE_OPENAI_ENDPOINT says.
            The key in BRIDGE_OPENAI_API_KEY goes there and to no other endpoint, whatever an experiment file names.
        model: As the endpoint lists it; may be left out where it serves one only.
        top: How many excerpts are shown.
        max_tokens: How long an answer may be.
        concurrency: How many requests may be under way at once.
        timeout: How long one may take, in seconds, before it is asked again.
        retries: How often it is asked again.

    Source: Bills et al., "Language models can explain neurons in language models" (OpenAI, 2023), the explaining step.
    """

    endpoint: str = ""
    model: str = ""
    top: int = 8
    max_tokens: int = 60
    concurrency: int = 4
    timeout: float = 60.0
    retries: int = 4

    name = "openai_chat"
    summary = "has a chat model say what the texts share where a vector is most active; needs an endpoint"

    def preview(self, d_model: int) -> list[str]:
        """Ask whether the endpoint serves the model; errors as of `open`."""
        return [f"Texts go to {self._served()[1]} at {self._endpoint().url}."]

    def open(self, subject: Subject) -> Verbalizer:
        """Ask the endpoint for its models, and go through the passages once, for their mean.

        Raises:
            UsageError: If an option cannot be right, or the endpoint does not serve the model.
            CorpusError: If there is no text.
            BridgeError: If the endpoint does not answer, or not as it should.
        """
        from bridge_openai_verbalizer.excerpts import Excerpts
        from bridge_openai_verbalizer.verbalizer import Chat

        endpoint, model = self._served()
        return Chat(endpoint, model, Excerpts(subject, self.top), self.max_tokens)

    def _served(self) -> tuple[Endpoint, str]:
        from bridge_openai_verbalizer.health import find_model

        endpoint = self._endpoint()
        return endpoint, find_model(endpoint, self.model)

    def _endpoint(self) -> Endpoint:
        from bridge_openai_verbalizer.endpoint import Endpoint

        counts = min(self.top, self.max_tokens, self.concurrency, self.retries + 1)
        if counts < 1 or not 0 < self.timeout < math.inf:
            raise UsageError(
                f"{self.name} cannot have top={self.top}, max_tokens={self.max_tokens}, "
                f"concurrency={self.concurrency}, retries={self.retries} and timeout={self.timeout:g}.",
                remedy="The first three are 1 at least, retries 0 at least, and the timeout above 0.",
            )
        trusted = os.environ.get(ENDPOINT, "").strip().rstrip("/")
        url = self.endpoint.rstrip("/") or trusted
        if not url:
            raise UsageError(
                f"The verbalizer {self.name} needs an endpoint.",
                remedy=f"Set {ENDPOINT}, or write {self.name}:endpoint=http://127.0.0.1:8000/v1.",
            )
        key = os.environ.get(KEY, "").strip()
        why_no_key = (
            f"{KEY} is not set." if not key else f"{KEY} goes to {ENDPOINT} only, which is {trusted or 'unset'}."
        )
        return Endpoint(url, key if url == trusted else "", why_no_key, self.concurrency, self.timeout, self.retries)


@hookimpl
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer the verbalizer; the class, because its fields are options."""
    register(OpenAIChat)
