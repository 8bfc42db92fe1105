"""Stand-ins of SGLang and vLLM: their protocols before a tiny model of transformers, and their ways to fail."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from bridge.verbalizers import Verbalizer, VerbalizerBackend
from bridge_verbalizers.nla_sglang import NLAOnSGLang
from bridge_verbalizers.nla_vllm import NLAOnVLLM
from nla_files import TrainedSubject, write_av

Answer = tuple[int, bytes]


class StandIn(ThreadingHTTPServer):
    """A server of one checkpoint.

    Attributes:
        asked: Bodies of all requests for text, probes left out.
        troubles: What happens to the next requests, one each: a status, bytes to answer, or seconds to sleep.
        answers_left: After so many answers it dies in the middle of a request, or None.
        likely_cause: Whether it embeds placeholders instead of reading embeddings.
    """

    daemon_threads = True
    kind: type[VerbalizerBackend]

    def __init__(self, folder: Path, port: int = 0, served: str | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.served = served or str(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.asked: list[dict[str, Any]] = []
        self.troubles: list[Any] = []
        self.answers_left: int | None = None
        self.likely_cause, self.loading = False, False
        self.most_at_once = self.at_once = 0
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def die(self) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that went away are part of the tests."""

    def get(self, path: str) -> Answer:
        raise NotImplementedError

    def post(self, path: str, given: dict[str, Any]) -> Answer:
        raise NotImplementedError

    def say(
        self, embeds: torch.Tensor, new_tokens: int, stop: list[str]
    ) -> tuple[str, str | int | None, list[tuple[float, int]]]:
        """Go on greedily without a cache: the text without what stopped it, that, and the likeliest first tokens."""
        embed = self.model.get_input_embeddings()
        if self.likely_cause:
            embeds = embed(torch.ones(len(embeds), dtype=torch.long))
        said: list[int] = []
        first: list[tuple[float, int]] = []
        with torch.inference_mode():
            while len(said) < new_tokens:
                logits = self.model(inputs_embeds=embeds[None], use_cache=False).logits[0, -1]
                if not first:
                    values, ids = logits.log_softmax(-1).topk(5)
                    first = list(zip(values.tolist(), ids.tolist(), strict=True))
                token = int(logits.argmax())
                if token == self.tokenizer.eos_token_id:
                    return self.tokenizer.decode(said, skip_special_tokens=False), token, first
                said.append(token)
                text = self.tokenizer.decode(said, skip_special_tokens=False)
                for end in stop:
                    if end in text:
                        return text.partition(end)[0], end, first
                embeds = torch.cat([embeds, embed(torch.tensor([token]))])
        return self.tokenizer.decode(said, skip_special_tokens=False), None, first


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StandIn

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            self._send(503 if self.server.loading else 200, b"")
        else:
            self._send(*self.server.get(self.path))

    def do_POST(self) -> None:
        given = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        probe = "logprobs" in given or "return_logprob" in given
        server = self.server
        with server.lock:
            if not probe:
                server.asked.append(given)
            trouble = server.troubles.pop(0) if server.troubles and not probe else None
            dying = server.answers_left == 0 and not probe
            if server.answers_left and not probe:
                server.answers_left -= 1
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        try:
            if dying:
                self.close_connection = True
                threading.Thread(target=server.die).start()
            elif isinstance(trouble, float):
                time.sleep(trouble)
                self.close_connection = True
            elif isinstance(trouble, int):
                self._send(trouble, b'{"error": "stand-in \x1b[2J"}')
            elif trouble is not None:
                self._send(200, trouble)
            else:
                self._send(*server.post(self.path, given))
        finally:
            with server.lock:
                server.at_once -= 1

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class SGLangStandIn(StandIn):
    """As SGLang 0.5.23 with --disable-radix-cache, but in the checkpoint's float32."""

    kind = NLAOnSGLang
    paths = ("/model_info", "/get_model_info")

    def get(self, path: str) -> Answer:
        if path not in self.paths:
            return 404, b'{"detail": "Not Found"}'
        return 200, json.dumps({"model_path": self.served, "is_generation": True}).encode()

    def post(self, path: str, given: dict[str, Any]) -> Answer:
        embeds, sampling = given.get("input_embeds"), given["sampling_params"]
        if path != "/generate" or {"text", "input_ids"} & set(given) or not isinstance(embeds[0][0], float):
            return 400, b'{"error": {"message": "Either text, input_ids or input_embeds should be provided."}}'
        assert sampling["skip_special_tokens"] is False
        text, end, first = self.say(torch.tensor(embeds), sampling["max_new_tokens"], sampling["stop"])
        meta: dict[str, Any] = {
            "finish_reason": {"type": "length"} if end is None else {"type": "stop", "matched": end}
        }
        if given.get("return_logprob"):
            meta["output_top_logprobs"] = [[[value, token, None] for value, token in first]]
        return 200, json.dumps({"text": text, "meta_info": meta}).encode()


class VLLMStandIn(StandIn):
    """As vLLM 0.32.0 with --enable-prompt-embeds."""

    kind = NLAOnVLLM

    def get(self, path: str) -> Answer:
        assert path == "/v1/models"
        return 200, json.dumps({"data": [{"id": self.served, "root": self.served, "max_model_len": 256}]}).encode()

    def post(self, path: str, given: dict[str, Any]) -> Answer:
        if path != "/v1/completions" or given["model"] != self.served or "prompt" in given:
            return 404, b'{"error": {"message": "The model does not exist."}}'
        raw = base64.b64decode(given["prompt_embeds"], validate=True)
        embeds = torch.load(io.BytesIO(raw), weights_only=True)
        assert embeds.ndim == 2 and not given["skip_special_tokens"]
        text, end, first = self.say(embeds, given["max_tokens"], given["stop"])
        logprobs = {"top_logprobs": [{self.tokenizer.decode([token]): value for value, token in first}]}
        choice = {"index": 0, "text": text, "stop_reason": end if isinstance(end, str) else None}
        choice["logprobs"] = logprobs if "logprobs" in given else None
        return 200, json.dumps({"object": "text_completion", "choices": [choice]}).encode()


STAND_INS: dict[str, type[StandIn]] = {"nla_sglang": SGLangStandIn, "nla_vllm": VLLMStandIn}


@contextlib.contextmanager
def serving(name: str, folder: Path, **given: Any) -> Iterator[StandIn]:
    """Run a stand-in of what a verbalizer needs."""
    server = STAND_INS[name](folder, **given)
    try:
        yield server
    finally:
        with contextlib.suppress(OSError):
            server.die()


def tiny_served(name: str) -> Callable[[Path], Verbalizer]:
    """Return a function that writes an AV into a folder, and opens it on a server that lives as long as the tests."""

    def make(folder: Path) -> Verbalizer:
        width = write_av(folder / "av")
        server = STAND_INS[name](folder / "av")
        return server.kind(checkpoint=str(folder), url=server.url, max_new_tokens=6).open(TrainedSubject(width))  # type: ignore[call-arg]

    return make
