"""The verbalizer keeps the laws of its contract, asks the right thing, and survives every endpoint."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import numpy as np
import pytest
from bridge_openai_verbalizer import ENDPOINT, KEY, OpenAIChat, client
from stand_in import StandIn, running

from bridge.corpus import Document
from bridge.errors import BridgeError, CorpusError, UsageError
from bridge.testing import check_verbalizer, conformance
from bridge.verbalizers import Explanation, Passage, Subject, Verbalizer

KINDS_OF_TEXT = {"fruit": "we ate an apple", "number": "they counted seven", "colour": "it was painted blue"}
EYE = np.eye(4, dtype=np.float32)


class Texts(Subject):
    """Nine texts; the last token of one on a fruit is active along the first axis, and so on; all along the fourth."""

    name, d_model, seed = "texts@0", 4, 0

    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        for copy in range(3):
            for axis, (kind, text) in enumerate(KINDS_OF_TEXT.items()):
                said = f"{kind} {copy}: {text}"
                x = np.array([5 * EYE[3], (1 + copy) * EYE[axis] + 5 * EYE[3]], np.float32)
                yield Passage(Document(said, said), np.array([len(kind), len(said)]), x)

    def load(self) -> Any:
        raise AssertionError("no model is needed")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.01)
    for name in (ENDPOINT, KEY):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with running() as state:
        yield state


def opened(server: StandIn, **options: Any) -> Verbalizer:
    return OpenAIChat(server.url, **options).open(Texts())


def test_laws_as_installed(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENDPOINT, server.url)
    conformance("verbalizers", "openai_chat")()
    assert len(server.asked) > 4


def test_laws_of_one_that_never_says_the_same_twice(server: StandIn) -> None:
    check_verbalizer(opened(server))


def test_what_is_asked(server: StandIn) -> None:
    said = opened(server, model="tiny-chat", top=2, max_tokens=9).explain(EYE[:2])
    assert len(set(said)) == 2
    by_question = {body["messages"][1]["content"]: body for body in server.asked}
    fruit = "1. fruit 2: we ate an «apple»\n2. fruit 1: we ate an «apple»"
    assert fruit in by_question and len(by_question) == 2
    body = by_question[fruit]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("tiny-chat", 0, 9)
    assert "in common" in body["messages"][0]["content"]
    assert "stream" not in body


def test_the_mean_is_left_out_and_what_lies_along_it_is_not_asked(server: StandIn) -> None:
    mean = 15 * EYE[3] + EYE[:3].sum(0)
    whole, alone, nothing = opened(server).explain(np.stack([EYE[2] + 5 * mean, EYE[2], mean]))
    assert whole == alone
    assert nothing == Explanation("", ("empty",))
    assert len(server.asked) == 1


def test_answers_are_kept_and_several_asked_at_once(server: StandIn) -> None:
    server.pause = 0.1
    verbalizer = opened(server, concurrency=2)
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    first = verbalizer.explain(vectors)
    asked = len(server.asked)
    assert asked >= 3 and server.busiest == 2
    assert verbalizer.explain(vectors[::-1]) == first[::-1]
    assert len(server.asked) == asked


@pytest.mark.parametrize("trouble", [500, 503, 429, 408, "garbage", "empty", "cut", "hang", "drip"])
def test_passing_trouble_costs_no_answer(server: StandIn, trouble: int | str) -> None:
    verbalizer = opened(server, timeout=0.5)
    server.trouble = [trouble, trouble]
    began = time.monotonic()
    (said,) = verbalizer.explain(EYE[:1])
    assert said.text.startswith("about ") and said.flags == ()
    assert len(server.asked) == 3 and time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("trouble", "what"),
    [
        (500, "status 500"),
        ("garbage", r"no JSON: <html>\\x1b\[31m"),
        ("empty", "holds no message"),
        ("cut", "cannot be reached"),
        ("hang", "did not answer within 0.2 s"),
        ("drip", "did not answer within 0.2 s"),
    ],
)
def test_lasting_trouble_is_told(server: StandIn, trouble: int | str, what: str) -> None:
    verbalizer = opened(server, timeout=0.2, retries=1)
    server.trouble = [trouble] * 2
    with pytest.raises(BridgeError, match=what) as told:
        verbalizer.explain(EYE[:1])
    assert server.url in told.value.what and "after 0 of 1" in told.value.what
    assert "1 more tries" in told.value.cause and "longer timeout" in told.value.remedy


@pytest.mark.parametrize(
    ("trouble", "what"), [(400, "refused"), (404, "refused"), (302, "refused"), ("huge", "larger")]
)
def test_refusals_are_not_asked_again(server: StandIn, trouble: int | str, what: str) -> None:
    verbalizer = opened(server)
    server.trouble, server.headers = [trouble], {"Location": "http://evil.example/"}
    with pytest.raises(BridgeError, match=what):
        verbalizer.explain(EYE[:1])
    assert len(server.asked) == 1


def test_what_was_answered_before_a_failure_is_kept(server: StandIn) -> None:
    verbalizer = opened(server, concurrency=1, retries=0)
    server.trouble = ["fine", "fine", 500]
    with pytest.raises(BridgeError, match="after 2 of 3"):
        verbalizer.explain(EYE[:3])
    assert len(verbalizer.explain(EYE[:3])) == 3
    assert len(server.asked) == 4


def test_retry_after_is_obeyed(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    verbalizer = opened(server)
    monkeypatch.setattr(client, "pause", waits.append)
    server.trouble, server.headers = [429, 503], {"Retry-After": "7"}
    verbalizer.explain(EYE[:1])
    assert waits == [7, 7]
    server.trouble, server.headers = [429], {"Retry-After": "3600"}
    with pytest.raises(BridgeError, match="come back after 3600 s"):
        verbalizer.explain(EYE[1:2])
    assert len(waits) == 2


def test_retry_after_in_every_form() -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30))
    assert client.seconds("7") == 7 and client.seconds("1.5") == 1.5
    assert 25 < client.seconds(later) <= 30
    for odd in ("", "soon", "nan", "inf", "-5", "Fri, 99 Foo"):
        assert client.seconds(odd) == 0


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        ("  fruit \n", Explanation("fruit")),
        ("", Explanation("", ("empty",))),
        (["a", "list"], Explanation("", ("empty",))),
        ("\x1b[2J\ud800<script>\x00", Explanation("\\x1b[2J\\ud800<script>\\x00")),
    ],
)
def test_an_answer_is_text_and_no_more(server: StandIn, says: Any, expected: Explanation) -> None:
    server.says = says
    (said,) = opened(server).explain(EYE[:1])
    assert said == expected
    json.dumps(said.text, ensure_ascii=False).encode()


def test_an_answer_that_is_cut_is_flagged(server: StandIn) -> None:
    server.trouble = ["long"]
    (said,) = opened(server).explain(EYE[:1])
    assert said.flags == ("truncated",)


def test_the_model_is_found(server: StandIn) -> None:
    assert OpenAIChat(server.url).preview(4) == [f"Texts go to tiny-chat at {server.url}."]
    with pytest.raises(UsageError, match=r"does not serve gpt.*one of tiny-chat"):
        opened(server, model="gpt")
    server.models = ["models/a", "b:latest"]
    for model in ("a", "models/a", "b", "b:latest"):
        opened(server, model=model)
    for models in ([], ["a", "b"]):
        server.models = models
        with pytest.raises(UsageError, match=f"serves {len(models)} models"):
            opened(server)


def test_an_endpoint_that_is_none_is_told() -> None:
    with pytest.raises(UsageError, match=f"Set {ENDPOINT}"):
        OpenAIChat().open(Texts())
    for url in ("127.0.0.1:8000", "ftp://x/v1", "http://", "http://host:port/v1", "http://user:secret@host/v1"):
        with pytest.raises(UsageError, match="is no endpoint"):
            OpenAIChat(url).open(Texts())
    with running() as server:
        gone = server.url
        with pytest.raises(BridgeError, match=r"refused .*404.*usually ends with /v1"):
            OpenAIChat(gone.removesuffix("/v1")).open(Texts())
    with pytest.raises(BridgeError, match=r"cannot be reached.*not running"):
        OpenAIChat(gone).preview(4)


@pytest.mark.parametrize("options", [{"top": 0}, {"retries": -1}, {"timeout": float("nan")}, {"concurrency": 0}])
def test_options_that_cannot_be(server: StandIn, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="cannot have"):
        opened(server, **options)


def test_no_text(server: StandIn) -> None:
    class Silent(Texts):
        def passages(self, held_out: bool = False) -> Iterator[Passage]:
            yield from ()

    with pytest.raises(CorpusError, match=r"no text that texts@0"):
        OpenAIChat(server.url).open(Silent())


def test_the_key_goes_to_its_own_endpoint_only(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = "sk-secret"
    monkeypatch.setenv(KEY, server.key)
    with pytest.raises(BridgeError, match=f"{KEY} goes to {ENDPOINT} only, which is unset"):
        opened(server)
    monkeypatch.setenv(ENDPOINT, f"{server.url}/")
    assert opened(server).explain(EYE[:1])[0].text
    assert set(server.keys) == {None, "Bearer sk-secret"}
    server.keys.clear()
    monkeypatch.setenv(ENDPOINT, "https://elsewhere.example/v1")
    with pytest.raises(BridgeError, match="401"):
        opened(server)
    assert set(server.keys) == {None}
    monkeypatch.delenv(KEY)
    with pytest.raises(BridgeError, match=f"{KEY} is not set"):
        opened(server)
    monkeypatch.setenv(ENDPOINT, "http://elsewhere.example/v1")
    monkeypatch.setenv(KEY, "sk-secret")
    with pytest.raises(UsageError, match="unencrypted"):
        OpenAIChat().preview(4)


def test_the_key_is_nowhere(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "sk-secret")
    monkeypatch.setenv(ENDPOINT, server.url)
    kind = OpenAIChat()
    verbalizer = kind.open(Texts())
    server.trouble = [400]
    with pytest.raises(BridgeError, match=r"trouble Bearer \*\*\*"):
        verbalizer.explain(EYE[:1])
    server.says = "your key is sk-secret"
    (said,) = verbalizer.explain(EYE[:1])
    assert said.text == "your key is ***"
    assert "secret" not in repr(kind) + repr(kind._endpoint()) + repr(vars(verbalizer))
    server.key = "another"
    with pytest.raises(BridgeError, match="not valid there") as told:
        kind.open(Texts())
    assert "secret" not in str(told.value)
    monkeypatch.setenv(KEY, "sk-\u00fcmlaut")
    with pytest.raises(UsageError, match="characters that no key has"):
        kind.open(Texts())


def test_it_works_once_nnsight_is_there(server: StandIn) -> None:
    # nnsight changes every object, which httpx's other client does not survive; pytest's own plugins hide that.
    code = "import nnsight, sys; from bridge_openai_verbalizer import *; print(OpenAIChat(sys.argv[1]).preview(4))"
    done = subprocess.run([sys.executable, "-c", code, server.url], capture_output=True, text=True, check=False)
    assert done.stdout == f"['Texts go to tiny-chat at {server.url}.']\n", done.stderr
