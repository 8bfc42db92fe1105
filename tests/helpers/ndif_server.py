"""A server on this machine that answers as NDIF's API does, and runs what nnsight sends it on a tiny model.

Routes and fields as in the client of nnsight 0.8.1 (`intervention/backends/remote.py`, `ndif.py`) and in
github.com/ndif-team/ndif.
"""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
import zstandard

KEY = "ndif-secret-key-for-tests"
DETAIL = "Missing or invalid API key. Please visit https://login.ndif.us/ to create a new one."


@dataclass
class Service:
    """What the server has and does.

    Attributes:
        folder: The checkpoint that it runs.
        repo: Its name on the hub.
        running: Whether the model is deployed.
        busy: How many submissions are answered with 429 before one is accepted.
        fails: Description of a job that fails.
        answer: Bytes to send in the place of a result.
        dtype: Of the model.
        seen: Keys of models of accepted requests, and numbers of traces.
        waits: How often a job is asked for before it is done.
    """

    folder: Path
    repo: str
    running: bool = True
    busy: int = 0
    fails: str = ""
    answer: bytes = b""
    dtype: str = "float32"
    seen: list[dict[str, Any]] = field(default_factory=list)
    waits: int = 1
    host: str = ""
    results: dict[str, bytes] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    model: Any = None

    def run(self, blob: bytes, compress: bool) -> bytes:
        """Run a request as NDIF does, and return the saved values."""
        from nnsight.modeling.transformers import TransformersModel
        from nnsight.schema.request import RequestModel
        from nnsight.tracing.tracer import dec, inc
        from transformers import AutoTokenizer

        if self.model is None:
            tokenizer = AutoTokenizer.from_pretrained(self.folder)
            given = {"task": "text-generation", "tokenizer": tokenizer, "dtype": self.dtype, "dispatch": True}
            self.model = TransformersModel(str(self.folder), **given)
        tracer = RequestModel.deserialize(blob, self.model._remoteable_persistent_objects(), compress)
        frame = tracer.info.frame
        before = set(frame.f_locals)
        inc()
        try:
            tracer.execute(tracer.info.code)
        finally:
            dec()
        saved = {name: value for name, value in frame.f_locals.items() if name not in before or name == "rows"}
        with io.BytesIO() as file:
            torch.save(saved, file)
            content = file.getvalue()
        return zstandard.ZstdCompressor().compress(content) if compress else content


class Handler(BaseHTTPRequestHandler):
    """Routes of the API."""

    service: Service

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer status, jobs and results."""
        service, path = self.service, self.path
        if path == "/status":
            state = "RUNNING" if service.running else "DEPLOYING"
            one = {"repo_id": service.repo, "revision": "main", "application_state": state, "deployment_level": "HOT"}
            other = one | {"repo_id": "somebody/other", "application_state": "RUNNING"}
            self._json(200, {"deployments": {"a": one, "b": other}} if service.repo else ["another service"])
        elif path.startswith("/result/"):
            self._send(200, service.results[path.rpartition("/")[2]], "application/octet-stream")
        elif path.startswith("/response/"):
            job = path.rpartition("/")[2]
            service.asked[job] = service.asked.get(job, 0) + 1
            if service.asked[job] <= service.waits:
                self._json(200, {"id": job, "status": "QUEUED", "description": "waiting"})
            elif service.fails:
                self._json(200, {"id": job, "status": "ERROR", "description": service.fails})
            else:
                self._json(200, {"id": job, "status": "COMPLETED", "data": f"{service.host}/result/{job}"})
        else:
            self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Accept a request, or refuse it."""
        service = self.service
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("ndif-api-key") != KEY:
            self._json(401, {"detail": DETAIL})
            return
        if service.busy > 0:
            service.busy -= 1
            self._json(429, {"detail": "Too many requests for this key."}, {"retry-after": "0"})
            return
        head = f"content-type: {self.headers['content-type']}\r\n\r\n".encode()
        parts = {
            one.get_param("name", header="content-disposition"): one.get_payload(decode=True)
            for one in message_from_bytes(head + body, policy=HTTP).iter_parts()
        }
        said, job = json.loads(parts["data"]), f"job{len(service.seen)}"
        service.seen.append(said)
        if not service.fails:
            service.results[job] = service.answer or service.run(parts["blob"], said["compress"])
        self._json(200, {"id": job, "status": "RECEIVED", "description": "received"})

    def _json(self, code: int, value: Any, headers: dict[str, str] | None = None) -> None:
        self._send(code, json.dumps(value).encode(), "application/json", headers)

    def _send(self, code: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for name, value in ({"content-type": kind, "content-length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def serving(service: Service) -> Iterator[Service]:
    """Serve on a free port of this machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"service": service}))
    service.host = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
