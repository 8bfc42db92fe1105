"""A hub that refuses is told from one that has nothing: gated, private, a bad token, each in words, asked over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

REFUSALS = {
    "gated": (401, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access to model org/gated is restricted."}),
    "waiting": (403, {"X-Error-Code": "GatedRepo", "X-Error-Message": "Your request awaits a review."}),
    "private": (401, {"X-Error-Code": "RepoNotFound", "X-Error-Message": "Repository not found"}),
    "expired": (401, {"X-Error-Message": "Invalid credentials in Authorization header"}),
    "narrow": (403, {"X-Error-Message": "this token lacks the permission"}),
    "disabled": (403, {"X-Error-Message": "Access to this resource is disabled."}),
}
"""What huggingface.co answers, by the repository's name."""

SAID = {
    "gated": r"is gated: the hub gives it only to those who accepted its licence.*Accept them at {page}.*hf auth login",
    "waiting": r"is gated.*were not granted yet.*Accept them at {page}",
    "private": r"has no model org/private, or does not show it.*misspelt; or it is private.*hf auth login",
    "expired": r"refuses to give the model org/expired \(401\).*no longer valid.*hf auth login",
    "narrow": r"refuses to give the model org/narrow \(403\).*may not read it.*Make a token",
    "disabled": r"has disabled the model org/disabled",
}

ASK = """
import json, os, sys
from bridge.errors import BridgeError
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.score.judge import load_judge
from bridge.pipeline.transfer.dictionaries import open_dictionary
from bridge_verbalizers.nla import NLA

runtime, said = open_runtime(), {}
asks = {
    "model": lambda name: runtime.resolve(f"org/{name}@1"),
    "dictionary": lambda name: open_dictionary(f"hub:org/{name}/layer_1", runtime.registry),
    "verbalizer": lambda name: NLA(checkpoint=f"hub:org/{name}").preview(32),
}
for kind, ask in asks.items():
    for name in sys.argv[1:]:
        try:
            ask(name)
        except BridgeError as error:
            said[f"{kind} {name}"] = str(error)
try:
    load_judge("org/gated")
except BridgeError as error:
    said["judge gated"] = str(error)
print(json.dumps(said))
"""


class StandIn(BaseHTTPRequestHandler):
    """Answers every request about `org/NAME` as the hub answers one that it refuses."""

    def _answer(self) -> None:
        name = self.path.partition("org/")[2].partition("/")[0]
        status, headers = REFUSALS.get(name, (404, {"X-Error-Code": "RepoNotFound"}))
        self.send_response(status)
        for key, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(key, value)
        self.end_headers()

    do_GET = do_HEAD = do_POST = _answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), StandIn) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def said(hub: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    # In a process of its own: huggingface_hub reads its address once, when it is imported.
    home = tmp_path_factory.mktemp("hub")
    given = {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HOME": str(home), "BRIDGE_MODELS_DIR": str(home / "none")}
    environment = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()} | given
    done = subprocess.run(
        [sys.executable, "-c", ASK, *REFUSALS], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("kind", ["model", "dictionary", "verbalizer"])
@pytest.mark.parametrize("name", REFUSALS)
def test_what_the_hub_refuses_is_said_for_what_it_is(kind: str, name: str, said: dict[str, str], hub: str) -> None:
    import re

    found = said[f"{kind} {name}"]
    assert re.search(SAID[name].replace("{page}", re.escape(f"{hub}/org/{name}")), found), found
    for useless in ("again", "by hand", "Put its files", "cannot be reached"):
        assert useless not in found, found


def test_a_gated_sentence_encoder_is_no_network_fault(said: dict[str, str]) -> None:
    assert "is gated" in said["judge gated"] and "hf auth login" in said["judge gated"]


def test_a_gated_dataset_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    import httpx
    from huggingface_hub.errors import GatedRepoError

    from bridge.corpus import read
    from bridge.errors import CorpusError

    def load_dataset(*_: object, **__: object) -> None:
        response = httpx.Response(403, request=httpx.Request("GET", "https://huggingface.co/x"))
        try:
            raise GatedRepoError("gated", response=response)
        except GatedRepoError as error:
            raise ValueError("Dataset 'org/texts' is a gated dataset on the Hub.") from error

    monkeypatch.setattr(read, "_extra", lambda *_: SimpleNamespace(load_dataset=load_dataset))
    with pytest.raises(CorpusError, match=r"dataset org/texts is gated.*huggingface.co/datasets/org/texts.*hf auth"):
        read.load_corpus("hub:org/texts")
