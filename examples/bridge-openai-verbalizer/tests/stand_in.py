"""An OpenAI-compatible server as the verbalizer meets it: two routes, a key, and every way to fail, by appointment."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class StandIn:
    """What the server is, what it will do, and what it was asked.

    Attributes:
        url: Its endpoint.
        models: What it lists.
        key: What it wants, or empty.
        trouble: What goes wrong with the next requests for a chat, one each: a status, or a name of `_Handler.TROUBLE`.
        headers: Sent with every status of `trouble`.
        says: What it answers with; by default something about the question, always the same.
        asked: Bodies of the requests for a chat, in their order.
        keys: The Authorization headers of all requests.
        busiest: How many were under way at once, at most.
    """

    url: str = ""
    models: list[str] = field(default_factory=lambda: ["tiny-chat"])
    key: str = ""
    trouble: list[int | str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    says: Any = None
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    busiest: int = 0
    pause: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: threading.Event = field(default_factory=threading.Event)
    under_way: int = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Any

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self._let_in():
            if self.path != "/v1/models":
                self._send(404, {"error": {"message": "no such route"}})
            else:
                cards = [{"id": name, "object": "model"} for name in self.server.state.models]
                self._send(200, {"object": "list", "data": cards})

    def do_POST(self) -> None:
        state: StandIn = self.server.state
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._let_in():
            return
        with state.lock:
            state.asked.append(body)
            state.under_way += 1
            state.busiest = max(state.busiest, state.under_way)
            trouble = state.trouble.pop(0) if state.trouble else None
        time.sleep(state.pause)
        # Before the answer goes out: the next request may be here sooner than this thread goes on.
        with state.lock:
            state.under_way -= 1
        self._answer(state, body, trouble)

    def _answer(self, state: StandIn, body: dict[str, Any], trouble: int | str | None) -> None:
        if isinstance(trouble, int):
            self._send(trouble, {"error": {"message": f"trouble {self.headers['Authorization']}"}}, state.headers)
        elif trouble == "garbage":
            self._raw(200, b"<html>\x1b[31m\xff a proxy's page")
        elif trouble == "hang":
            state.stopped.wait(20)
        elif trouble == "drip":
            self._head(200, 10_000)
            while not state.stopped.wait(0.05):
                self.wfile.write(b" ")
        elif trouble == "cut":
            self._head(200, 10_000)
            self.wfile.write(b'{"choices": [')
            self.close_connection = True
        elif trouble == "huge":
            self._raw(200, b" " * 3_000_000)
        elif trouble == "empty":
            self._send(200, {"choices": []})
        else:
            question = body["messages"][-1]["content"]
            says = f"about {sum(question.encode()) % 9973}" if state.says is None else state.says
            message = {"role": "assistant", "content": says}
            choice = {"index": 0, "message": message, "finish_reason": "length" if trouble == "long" else "stop"}
            self._send(200, {"id": "x", "object": "chat.completion", "model": body["model"], "choices": [choice]})

    def _let_in(self) -> bool:
        state: StandIn = self.server.state
        state.keys.append(self.headers["Authorization"])
        if not state.key or self.headers["Authorization"] == f"Bearer {state.key}":
            return True
        self._send(401, {"error": {"message": f"Incorrect API key provided: {self.headers['Authorization']}"}})
        return False

    def _send(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._raw(status, json.dumps(value).encode(), headers)

    def _raw(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self._head(status, len(data), headers)
        self.wfile.write(data)

    def _head(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: Any) -> None:
        """The client goes away from what hangs; that is no news."""


@contextlib.contextmanager
def running() -> Iterator[StandIn]:
    """Run a server on a free port."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        state = server.state = StandIn(f"http://127.0.0.1:{server.server_port}/v1")  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield state
        state.stopped.set()
        server.shutdown()
