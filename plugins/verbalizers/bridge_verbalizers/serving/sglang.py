"""SGLang's own protocol (from the source of 0.5.23): `/generate` with `input_embeds` and no ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, final

from bridge.errors import BridgeError
from bridge.readers.answer import CLOSE
from bridge_verbalizers.serving.client import UnansweredError, attempt
from bridge_verbalizers.serving.prompt import Prompt
from bridge_verbalizers.serving.protocol import Protocol, Vector, extract, str_of

if TYPE_CHECKING:
    import httpx

COMPARED = 5


@final
class SGLang(Protocol):
    """The protocol of SGLang; see `Protocol`."""

    route = "/generate"

    def __init__(self, max_new_tokens: int, temperature: float) -> None:
        # Penalties off, overriding the checkpoint's generation_config.json and the server's defaults.
        self._sampling = {
            "max_new_tokens": max_new_tokens,
            "temperature": temperature,
            "top_p": 1.0,
            "top_k": -1,
            "repetition_penalty": 1.0,
            "stop": [CLOSE],
            "skip_special_tokens": False,
        }

    async def models(self, client: httpx.AsyncClient, timeout: float) -> list[str]:
        """Request the server's health and the model's path."""
        await attempt(client, "/health", timeout)
        try:
            info = await attempt(client, "/model_info", timeout)
        except UnansweredError:
            raise
        except BridgeError:
            # Versions before 0.5.
            info = await attempt(client, "/get_model_info", timeout)
        found = [extract(lambda answer: answer["model_path"], info), info.get("served_model_name")]
        return [name for name in found if isinstance(name, str)]

    def body(self, prompt: Prompt, vector: Vector) -> bytes:
        """Write the request as JSON."""
        return self._body(prompt, vector, {"sampling_params": self._sampling})

    def probe(self, prompt: Prompt, vector: Vector) -> bytes:
        """Write the request for one token."""
        one = self._sampling | {"max_new_tokens": 1, "temperature": 0.0}
        return self._body(
            prompt, vector, {"sampling_params": one, "return_logprob": True, "top_logprobs_num": COMPARED}
        )

    def text(self, answer: Any) -> str:
        """Return the text; if the closing tag stopped the generation, the answer lacks the tag, and it is appended.

        The server's option to keep the stop string would also keep an end-of-text token.
        """
        closed: bool = answer["meta_info"]["finish_reason"].get("matched") == CLOSE
        return str_of(answer["text"]) + CLOSE * closed

    def likeliest(self, answer: Any) -> Any:
        """Return pairs of log-probability and id."""
        return answer["meta_info"]["output_top_logprobs"][0]

    def _body(self, prompt: Prompt, vector: Vector, rest: dict[str, Any]) -> bytes:
        return f'{{"input_embeds": {prompt.json(vector)}, {json.dumps(rest)[1:]}'.encode("ascii")
