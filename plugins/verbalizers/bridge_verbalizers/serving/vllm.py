"""vLLM's OpenAI-compatible protocol (tested with 0.32.0): `/v1/completions` with `prompt_embeds` and no prompt."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any, final

from bridge.readers.answer import CLOSE
from bridge_verbalizers.serving.client import attempt
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import Protocol, Vector, extract, str_of

if TYPE_CHECKING:
    import httpx

COMPARED = 5


@final
class VLLM(Protocol):
    """The protocol of vLLM; see `Protocol`. Requests name the model that `models` found."""

    route = "/v1/completions"

    def __init__(self, max_new_tokens: int, temperature: float) -> None:
        # Penalties off: vLLM would use those of the checkpoint's generation_config.json.
        self._sampling = {
            "max_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "stop": [CLOSE],
            "skip_special_tokens": False,
        }
        self._model = ""

    async def models(self, client: httpx.AsyncClient, timeout: float) -> list[str]:
        """Request the server's health, and the first model's name and path."""
        await attempt(client, "/health", timeout)
        first = extract(lambda answer: answer["data"][0], await attempt(client, "/v1/models", timeout))
        self._model = extract(lambda card: str_of(card["id"]), first)
        root = first.get("root")
        return [self._model, root] if isinstance(root, str) else [self._model]

    def body(self, prompt: Prompt, vector: Vector) -> bytes:
        """Write the request as JSON."""
        return self._body(prompt, vector, {})

    def probe(self, prompt: Prompt, vector: Vector) -> bytes:
        """Write the request for one token."""
        return self._body(prompt, vector, {"max_tokens": 1, "temperature": 0.0, "logprobs": COMPARED})

    def text(self, answer: Any) -> str:
        """Return the text; if the closing tag stopped the generation, the answer lacks the tag, and it is appended.

        The server's option to keep the stop string would also keep an end-of-text token.
        """
        choice = answer["choices"][0]
        closed: bool = choice.get("stop_reason") == CLOSE
        return str_of(choice["text"]) + CLOSE * closed

    def likeliest(self, answer: Any) -> Any:
        """Return log-probabilities by token."""
        return answer["choices"][0]["logprobs"]["top_logprobs"][0]

    def _body(self, prompt: Prompt, vector: Vector, other: dict[str, Any]) -> bytes:
        import torch

        # vLLM accepts only the format of torch.save; data from the server is never unpickled here.
        file = io.BytesIO()
        torch.save(prompt.tensor(vector), file)
        embeds = base64.b64encode(file.getvalue()).decode("ascii")
        return json.dumps({"model": self._model, "prompt_embeds": embeds, **self._sampling, **other}).encode("ascii")
