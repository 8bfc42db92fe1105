"""Several servers of one AV: the texts are those of one server, and a server that fails costs no explanation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.errors import BridgeError, UsageError
from bridge.verbalizers import Explanation, Verbalizer
from bridge_verbalizers.nla import NLA
from bridge_verbalizers.nla_vllm import NLAOnVLLM
from bridge_verbalizers.serving import client
from nla_files import TrainedSubject, write_av
from serving_files import STAND_INS, StandIn, serving

Start = Callable[..., StandIn]
TOKENS = 4
NOWHERE = "http://127.0.0.1:9"
VECTORS = np.random.default_rng(0).normal(size=(16, 32)).astype(np.float32)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)


@pytest.fixture(scope="module")
def av(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "tiny-av"
    write_av(folder)
    return folder


@pytest.fixture(scope="module")
def whole(av: Path) -> list[Explanation]:
    return NLA(checkpoint=str(av), max_new_tokens=TOKENS).open(TrainedSubject(32)).explain(VECTORS)


@pytest.fixture
def start(av: Path) -> Iterator[Start]:
    """Start stand-ins of one kind."""
    with ExitStack() as stack:
        yield lambda name="nla_vllm", **given: stack.enter_context(serving(name, av, **given))


def opened(av: Path, *servers: StandIn | str, kind: Any = NLAOnVLLM, **given: Any) -> Verbalizer:
    url = " ".join(server if isinstance(server, str) else server.url for server in servers)
    opened: Verbalizer = kind(checkpoint=str(av), url=url, max_new_tokens=TOKENS, **given).open(TrainedSubject(32))
    return opened


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_the_least_busy_server_is_asked(
    name: str, av: Path, start: Start, whole: list[Explanation], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each server has its own name for the AV, which requests to vLLM hold.
    servers = [start(name, served=f"{user}/{av.name}") for user in "abc"]
    plain = servers[0].post

    def slow(path: str, given: dict[str, Any]) -> tuple[int, bytes]:
        probe = "logprobs" in given or "return_logprob" in given
        deadline = time.monotonic() + 20
        while not probe and sum(len(server.asked) for server in servers) < len(VECTORS) and time.monotonic() < deadline:
            time.sleep(0.005)
        return plain(path, given)

    monkeypatch.setattr(servers[0], "post", slow)
    verbalizer = opened(av, *servers, kind=servers[0].kind, concurrency=2)
    assert verbalizer.explain(VECTORS) == whole and verbalizer.notes() == []
    asked = [len(server.asked) for server in servers]
    assert asked[0] == 2, "the slow server holds as many requests as one server may have, until all others are asked"
    assert sum(asked) == len(VECTORS) and min(asked) > 1
    assert all(server.most_at_once <= 2 for server in servers)
    for others in (servers[::-1], servers[1:2]):
        assert opened(av, *others, kind=servers[0].kind).explain(VECTORS) == whole
    assert sum(len(server.asked) for server in servers) == len(VECTORS), "answers depend on no address"


@pytest.mark.parametrize(
    ("trouble", "said"), [("dies", "cannot be reached"), (503, "status 503"), (6.0, "did not answer within 3 s")]
)
def test_requests_of_a_server_that_fails_go_to_the_others(
    trouble: Any, said: str, av: Path, start: Start, whole: list[Explanation]
) -> None:
    failing, *others = start(), start(), start()
    verbalizer = opened(av, failing, *others, concurrency=2, timeout=3.0)
    if trouble == "dies":
        failing.answers_left = 2
    else:
        failing.troubles = [trouble] * 2
    assert verbalizer.explain(VECTORS) == whole
    (note,) = verbalizer.notes()
    assert note.startswith(f"vLLM at {failing.url} was left out, and its requests went to the other servers: ")
    assert said in note
    assert len(failing.asked) <= 4, "it is not asked again"
    answered = 2 if trouble == "dies" else 0
    assert sum(len(other.asked) for other in others) == len(VECTORS) - answered, "no answer is asked for twice"


def test_a_busy_server_stays(av: Path, start: Start, whole: list[Explanation]) -> None:
    servers = start("nla_sglang"), start("nla_sglang")
    verbalizer = opened(av, *servers, kind=servers[0].kind, concurrency=1)
    servers[0].troubles = [429, 429]
    assert verbalizer.explain(VECTORS) == whole and verbalizer.notes() == []
    assert len(servers[0].asked) > 3


def test_no_server_is_left(av: Path, start: Start, whole: list[Explanation]) -> None:
    first, second = start(), start()
    verbalizer = opened(av, first, second, NOWHERE, concurrency=1)
    assert [NOWHERE in note for note in verbalizer.notes()] == [True]
    first.troubles, second.troubles = [500] * 20, [503] * 20
    with pytest.raises(
        BridgeError, match=r"None of the 3 servers is left.* 0 of 16 .*kept in .*Start a server again"
    ) as caught:
        verbalizer.explain(VECTORS)
    for url, cause in (
        (first.url, "answered with status 500"),
        (second.url, "answered with status 503"),
        (NOWHERE, "cannot be reached"),
    ):
        assert f"vLLM at {url}: The server {cause}" in str(caught.value)
    first.troubles, second.troubles = [], [400]
    with pytest.raises(BridgeError, match=f"vLLM at {second.url}: The server refused the request with status 400"):
        verbalizer.explain(VECTORS)
    assert verbalizer.explain(VECTORS) == whole, "servers that are there again are asked again"
    assert [NOWHERE in note for note in verbalizer.notes()] == [True]


def test_servers_are_checked_before_the_first_request(av: Path, start: Start) -> None:
    right, wrong, absent = start(), start(served="someone/else-7b"), "http://user:secret@127.0.0.1:9"
    with pytest.raises(BridgeError, match=f"vLLM at {wrong.url} cannot explain. It serves someone/else-7b"):
        opened(av, right, wrong)
    (note,) = opened(av, absent, right).notes()
    assert f"vLLM at {NOWHERE} was left out" in note and "cannot be reached" in note
    right.loading = True
    with pytest.raises(BridgeError, match="None of the 2 servers can explain") as caught:
        opened(av, absent, right)
    for said in (f"vLLM at {NOWHERE}: ", f"vLLM at {right.url}: ", "status 503", "Start one at least: `vllm serve"):
        assert said in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not right.asked and not wrong.asked


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://a:8000 b:8000", "'b:8000' is no address.*blanks between"),
        ("http://a:8000 http://a:8000/", "given twice"),
        ("  ", "is no address"),
    ],
)
def test_addresses_that_cannot_be(url: str, said: str, av: Path) -> None:
    with pytest.raises(UsageError, match=said):
        opened(av, url)
