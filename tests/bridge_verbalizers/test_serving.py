"""Served AVs say what the same checkpoint says here, and no server that fails costs an answer."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bridge.errors import BridgeError, ShapeError, StoreError, UsageError
from bridge.plugins import discover
from bridge.readers import Injection
from bridge.testing import check_verbalizer
from bridge.verbalizers import Background, Verbalizer, Washout
from bridge_verbalizers.nla import NLA
from bridge_verbalizers.nla.format import NLAFormat
from bridge_verbalizers.nla_sglang import NLAOnSGLang
from bridge_verbalizers.nla_vllm import NLAOnVLLM
from bridge_verbalizers.serving import client
from bridge_verbalizers.serving.backend import refuse_unserved
from bridge_verbalizers.serving.embeddings import embed
from bridge_verbalizers.serving.health import same_model
from bridge_verbalizers.serving.journal import Journal
from bridge_verbalizers.serving.prompt import read_config, read_prompt
from nla_files import CASES, TrainedSubject, write_av
from serving_files import STAND_INS, StandIn, serving, tiny_served

KINDS = {"nla_sglang": NLAOnSGLang, "nla_vllm": NLAOnVLLM}
TOKENS = 8


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_WAIT", 1e-3)


@pytest.fixture(scope="module")
def av(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "tiny-av"
    write_av(folder)
    return folder


@pytest.fixture(params=sorted(STAND_INS))
def server(request: pytest.FixtureRequest, av: Path) -> Iterator[StandIn]:
    with serving(request.param, av) as running:
        yield running


def opened(server: StandIn, av: Path, **given: Any) -> Verbalizer:
    options = {"checkpoint": str(av), "url": server.url, "max_new_tokens": TOKENS, **given}
    return server.kind(**options).open(TrainedSubject(32, seed=given.pop("seed", 0)))


def vectors_of(count: int, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("case", sorted(CASES))
def test_embeddings_are_those_of_the_model(case: str, dtype: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    write_av(tmp_path, case)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=getattr(torch, dtype))
    for shards in ("1GB", "20KB"):
        shutil.rmtree(tmp_path / "sharded", ignore_errors=True)
        shutil.copytree(tmp_path, tmp_path / "sharded", ignore=shutil.ignore_patterns("*.safetensors", "sharded"))
        model.save_pretrained(tmp_path / "sharded", max_shard_size=shards)
        assert ((tmp_path / "sharded" / "model.safetensors.index.json").exists()) == (shards == "20KB")
        reader, config = NLAFormat().describe(tmp_path), read_config(tmp_path)
        prompt = read_prompt(tmp_path / "sharded", reader, config)
        ids = [5, 0, 17, 5]
        found = embed(tmp_path / "sharded", config, ids)
        assert found.dtype == getattr(torch, dtype)
        assert torch.equal(found, model.get_input_embeddings()(torch.tensor(ids)))
        vector = vectors_of(1, reader.d_model)[0]
        row = torch.from_numpy(vector / np.linalg.norm(vector) * 30).to(found.dtype)
        torch.testing.assert_close(prompt.tensor(vector)[prompt.at], row)
        rest = [at for at in range(len(prompt.rows)) if at != prompt.at]
        assert torch.equal(prompt.tensor(vector)[rest], prompt.rows[rest])
        assert torch.equal(torch.tensor(json.loads(prompt.json(vector))).to(found.dtype), prompt.tensor(vector))


@pytest.mark.parametrize("name", sorted(STAND_INS))
@pytest.mark.parametrize("case", sorted(CASES))
def test_texts_are_those_of_transformers(case: str, name: str, tmp_path: Path) -> None:
    width = write_av(tmp_path / "av", case)
    vectors = vectors_of(12, width)
    here = NLA(checkpoint=str(tmp_path), max_new_tokens=TOKENS).open(TrainedSubject(width)).explain(vectors)
    with serving(name, tmp_path / "av") as server:
        given = {"checkpoint": str(tmp_path), "url": server.url, "max_new_tokens": TOKENS}
        verbalizer = server.kind(**given).open(TrainedSubject(width))  # type: ignore[call-arg]
        assert verbalizer.explain(vectors) == here
        assert len({said.text for said in here}) > 3
        assert verbalizer.explain(np.float32(2**-60) * vectors) == here and len(server.asked) == 12


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_conformance(name: str, tmp_path: Path) -> None:
    check_verbalizer(tiny_served(name)(tmp_path))


def test_text_ends_at_the_closing_tag(av: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = server.tokenizer.decode
    monkeypatch.setattr(
        server.tokenizer,
        "decode",
        lambda ids, **options: "<explanation>abc</explanation>"[: 12 * len(ids)] if len(ids) > 1 else plain(ids),
    )
    (said,) = opened(server, av).explain(vectors_of(1))
    assert (said.text, said.flags) == ("abc", ())
    (said,) = opened(server, av, max_new_tokens=2).explain(vectors_of(1))
    assert (said.text, said.flags) == ("abc", ("truncated",))


def test_washout(av: Path, server: StandIn) -> None:
    verbalizer, rows = opened(server, av), vectors_of(5, seed=1)
    background = Background(rows[0], rows)
    directions = vectors_of(2)
    assert Washout("mean").explain(verbalizer, directions, background) == verbalizer.explain(rows[0] + 3 * directions)
    with pytest.raises(UsageError, match="none, mean or blend"):
        Washout("contrast").explain(verbalizer, directions, background)


def test_order_and_concurrency(av: Path, server: StandIn) -> None:
    vectors = vectors_of(30)
    slow = opened(server, av, concurrency=1).explain(vectors)
    assert server.most_at_once == 1
    shutil.rmtree(os.environ["BRIDGE_CACHE_DIR"])
    order = np.random.default_rng(0).permutation(30)
    fast = opened(server, av, concurrency=4).explain(vectors[order])
    assert [slow[at] for at in order] == fast and 1 < server.most_at_once <= 4
    assert len(server.asked) == 60


def test_busy_servers_are_asked_again(av: Path, server: StandIn) -> None:
    verbalizer = opened(server, av)
    server.troubles = [503, 503, 429, 500]
    assert len(verbalizer.explain(vectors_of(1))) == 1
    assert len(server.asked) == 5


def test_refusals_are_not_repeated(av: Path, server: StandIn) -> None:
    verbalizer = opened(server, av, concurrency=1)
    server.troubles = [400]
    with pytest.raises(BridgeError, match=r"status 400: .*stand-in \\x1b.* 0 of 3 .* are kept"):
        verbalizer.explain(vectors_of(3))
    assert len(server.asked) == 1


def test_a_server_that_dies_costs_nothing(av: Path, server: StandIn) -> None:
    vectors = vectors_of(10)
    whole = NLA(checkpoint=str(av), max_new_tokens=TOKENS).open(TrainedSubject(32)).explain(vectors)
    verbalizer = opened(server, av, concurrency=3)
    server.answers_left = 6
    with pytest.raises(BridgeError, match=r"6 of 10 .* kept in .*The same command then continues") as caught:
        verbalizer.explain(vectors)
    assert ("--enable-prompt-embeds" if server.kind is NLAOnVLLM else "--disable-radix-cache") in str(caught.value)
    with serving(server.kind.name, av, port=server.server_address[1]) as again:
        assert opened(again, av, concurrency=3).explain(vectors) == whole
        assert len(again.asked) == 4
        assert verbalizer.explain(vectors) == whole, "the first one goes on too"


def test_interrupted(av: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    verbalizer, vectors, plain = opened(server, av, concurrency=2), vectors_of(6), server.post
    signals = [signal.SIGINT]

    def interrupting(path: str, given: dict[str, Any]) -> tuple[int, bytes]:
        if len(server.asked) >= 4:
            if signals:
                os.kill(os.getpid(), signals.pop())
            time.sleep(0.2)
        return plain(path, given)

    monkeypatch.setattr(server, "post", interrupting)
    with pytest.raises(KeyboardInterrupt):
        verbalizer.explain(vectors)
    kept = len(opened(server, av)._journal.answers)  # type: ignore[attr-defined]
    assert kept >= 2
    monkeypatch.setattr(server, "post", plain)
    server.asked.clear()
    assert len(opened(server, av).explain(vectors)) == 6 and len(server.asked) == 6 - kept


def test_what_an_answer_depends_on_is_asked_anew(av: Path, server: StandIn, tmp_path: Path) -> None:
    vectors = vectors_of(2)
    copied = tmp_path / av.name
    shutil.copytree(av, copied)
    for given in ({}, {"max_new_tokens": 3}, {"temperature": 0.5}, {"temperature": 0.5, "seed": 1}):
        seed = int(given.pop("seed", 0))
        options: dict[str, Any] = {"checkpoint": str(copied), "url": server.url, "max_new_tokens": TOKENS, **given}
        for expected in (2, 0):
            server.asked.clear()
            server.kind(**options).open(TrainedSubject(32, seed=seed)).explain(vectors)
            assert len(server.asked) == expected, given
    os.utime(copied / "model.safetensors", ns=(0, 0))
    opened(server, copied).explain(vectors)
    assert len(server.asked) == 2, "weights that were written anew"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"<html>", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "does not hold"),
        (b'{"text": "", "meta_info": {"finish_reason": null}}', "does not hold"),
        (b'{"text": 5, "choices": [{"text": null}]}', "does not hold"),
        (b'{"choices": []}', "does not hold"),
        (b" " * (client.LARGEST_ANSWER + 1), "larger than"),
    ],
)
def test_garbage(answer: bytes, said: str, av: Path, server: StandIn) -> None:
    verbalizer = opened(server, av)
    server.troubles = [answer]
    with pytest.raises(BridgeError, match=said):
        verbalizer.explain(vectors_of(1))
    assert len(verbalizer.explain(vectors_of(1))) == 1


def test_hanging_server(av: Path, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "RETRIES", 1)
    verbalizer = opened(server, av, timeout=1.0)
    server.troubles = [4.0, 4.0]
    with pytest.raises(BridgeError, match=r"within 1 s.* 0 of 1"):
        verbalizer.explain(vectors_of(1))
    server.troubles = [4.0]
    assert len(verbalizer.explain(vectors_of(1))) == 1


@pytest.mark.parametrize("name", sorted(STAND_INS))
def test_not_there(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "an av"
    width = write_av(folder, "Gemma3ForCausalLM")
    expected = {
        "nla_sglang": f"python -m sglang.launch_server --model-path {shlex.quote(str(folder))} --disable-radix-cache "
        "--port 9 --attention-backend fa3",
        "nla_vllm": f"vllm serve {shlex.quote(str(folder))} --enable-prompt-embeds --port 9",
    }
    with pytest.raises(BridgeError, match="cannot be reached") as caught:
        KINDS[name](checkpoint=str(folder), url="http://127.0.0.1:9").open(TrainedSubject(width))
    assert f"Start it: `{expected[name]}`." in str(caught.value)


def test_wrong_servers(av: Path, server: StandIn, tmp_path: Path) -> None:
    server.loading = True
    with pytest.raises(BridgeError, match="status 503"):
        opened(server, av)
    server.loading, server.served = False, "someone/else-7b"
    with pytest.raises(BridgeError, match=f"serves someone/else-7b.*not {av}.*Start it"):
        opened(server, av)
    server.served, server.likely_cause = f"kitft/{av.name}", True
    with pytest.raises(BridgeError, match="does not read the embeddings"):
        opened(server, av)
    server.likely_cause = False
    assert len(opened(server, av).explain(vectors_of(1))) == 1
    with pytest.raises(ShapeError, match="of another model"):
        server.kind(checkpoint=str(av), url=server.url).open(TrainedSubject(33))  # type: ignore[call-arg]


def test_the_known_deaf_one(tmp_path: Path) -> None:
    width = write_av(tmp_path, "Gemma3ForConditionalGeneration")
    with serving("nla_sglang", tmp_path) as server:
        server.likely_cause = True
        with pytest.raises(BridgeError, match="sglang/pull/20544"):
            NLAOnSGLang(checkpoint=str(tmp_path), url=server.url).open(TrainedSubject(width))


def test_older_sglang(av: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving("nla_sglang", av) as server:
        monkeypatch.setattr(server, "paths", ("/get_model_info",))
        assert len(opened(server, av).explain(vectors_of(1))) == 1


def test_same_model(av: Path, tmp_path: Path) -> None:
    hub = tmp_path / "models--kitft--nla-qwen2.5-7b-L20-av" / "snapshots" / "0abc"
    assert same_model("kitft/nla-qwen2.5-7b-L20-av", hub) and same_model("/models/NLA-qwen2.5-7b-L20-av/", hub)
    assert not same_model("kitft/nla-gemma3-12b-L32-av", hub)
    shutil.copytree(av, tmp_path / "renamed")
    assert same_model(str(tmp_path / "renamed"), av)
    (tmp_path / "renamed" / "nla_meta.yaml").write_text("other")
    assert not same_model(str(tmp_path / "renamed"), av)


@pytest.mark.parametrize("kind", KINDS.values())
@pytest.mark.parametrize(
    "given",
    [
        {"checkpoint": ""},
        {"url": "localhost:30000"},
        {"url": "http://"},
        {"url": "http://h:99999"},
        {"concurrency": 0},
        {"timeout": 0.0},
        {"temperature": -1.0},
        {"max_new_tokens": 0},
    ],
)
def test_options_that_cannot_be(kind: Any, given: dict[str, Any], av: Path) -> None:
    with pytest.raises(UsageError):
        kind(**{"checkpoint": str(av), **given}).open(TrainedSubject(32))


def test_in_a_notebook(av: Path, server: StandIn) -> None:
    async def cell() -> int:
        return len(opened(server, av).explain(vectors_of(2)))

    assert asyncio.run(cell()) == 2


def test_journal(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.jsonl"
    journal = Journal(path)
    texts = {"a": "one\nline", "b": "\ud800 ☃\x00", "c": ""}
    with journal.writing() as keep:
        for key, text in texts.items():
            keep(key, text)
    assert journal.answers == Journal(path).answers == texts
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        torn = Journal(path)
        assert texts.items() >= torn.answers.items() and len(torn.answers) >= whole[:cut].count(b"\n")
        with torn.writing() as keep:
            keep("d", "next")
        assert Journal(path).answers == {**torn.answers, "d": "next"}
    path.write_bytes(whole + b'\0\0\n5\n{"key": 1, "text": ""}\n\xff\n')
    assert Journal(path).answers == texts
    with pytest.raises(StoreError, match="journal"), Journal(tmp_path / "new" / "journal.jsonl" / "x").writing():
        pass


def test_damaged_checkpoints(av: Path, tmp_path: Path) -> None:
    copied = tmp_path / "av"
    shutil.copytree(av, copied)
    open_it = NLAOnVLLM(checkpoint=str(copied), url="http://127.0.0.1:9").open
    for file, content in (
        ("model.safetensors", b"no"),
        ("config.json", b"[]"),
        ("config.json", b"{"),
        ("model.safetensors.index.json", b'{"weight_map": {}}'),
        ("model.safetensors.index.json", b"[]"),
    ):
        (copied / file).write_bytes(content)
        with pytest.raises(BridgeError, match=r"cannot be read|no JSON object"):
            open_it(TrainedSubject(32))
        (copied / file).unlink()
        if (av / file).exists():
            shutil.copy(av / file, copied / file)


VLLM = os.environ.get("BRIDGE_VLLM") or shutil.which("vllm")


@pytest.mark.serving
@pytest.mark.skipif(not VLLM, reason="vllm is not installed; BRIDGE_VLLM may name its command")
@pytest.mark.parametrize("case", sorted(set(CASES) - {"Gemma3ForConditionalGeneration"}))
def test_against_vllm_itself(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, adapter = tmp_path / "av", type(discover().models[CASES[case][0]])
    plain = adapter.tiny_configs

    def wider(self: Any) -> list[Any]:
        # vLLM has no kernels for the heads of 8 dimensions of the other tests.
        configs = list(plain(self))
        for config in configs:
            text = config.get_text_config()
            text.hidden_size, text.num_attention_heads, text.num_key_value_heads, text.head_dim = 64, 2, 2, 32
        return configs

    monkeypatch.setattr(adapter, "tiny_configs", wider)
    width = write_av(folder, case)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(VLLM), "serve", str(folder), "--enable-prompt-embeds", "--port", str(port), "--host", "127.0.0.1"]
    command += ["--dtype", "float32", "--enforce-eager", "--max-model-len", "256"]
    settings = {"VLLM_TARGET_DEVICE": "cpu", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    path = f"{Path(str(VLLM)).parent}:{os.environ['PATH']}"
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **settings, "PATH": path}, stdout=log, stderr=log)
    try:
        for _ in range(400):
            assert server.poll() is None, (tmp_path / "log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                time.sleep(1)
        vectors = vectors_of(40, width)
        subject = TrainedSubject(width)
        here = NLA(checkpoint=str(tmp_path), max_new_tokens=TOKENS).open(subject).explain(vectors)
        there = NLAOnVLLM(checkpoint=str(tmp_path), url=f"http://127.0.0.1:{port}", max_new_tokens=TOKENS)
        # vLLM holds back bytes that are no whole character when the tokens run out; transformers writes U+FFFD.
        texts = [
            [said.text.rstrip("\ufffd").strip() for said in some]
            for some in (there.open(subject).explain(vectors), here)
        ]
        assert texts[0] == texts[1]
        assert len(set(texts[0])) > 10
    finally:
        server.terminate()
        server.wait(60)


def test_servers_are_asked_beside_nnsight() -> None:
    """In a process of its own: pytest has loaded what fails elsewhere after nnsight."""
    program = """
import nnsight
from bridge_verbalizers.serving.client import UnansweredError, attempt, connect, run

async def asked():
    async with connect("http://127.0.0.1:9", 1) as client:
        await attempt(client, "/health", 5)

try:
    run(asked())
except UnansweredError:
    print("unanswered", hasattr(object, "save"))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "unanswered True\n", done.stderr


@pytest.mark.parametrize("kind", [NLAOnVLLM, NLAOnSGLang])
def test_what_a_server_cannot_run_is_refused(kind: Any, tmp_path: Path) -> None:
    width = write_av(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(UsageError, match=r"cannot be run by nla_.*it is an adapter.*--verbalizer FOLDER"):
        kind(checkpoint=str(tmp_path), url="http://127.0.0.1:9").open(TrainedSubject(width))
    described = NLAFormat().describe(tmp_path)
    added = dataclasses.replace(described, injection=Injection(block=1, how="add", length="place"))
    with pytest.raises(UsageError, match="its vectors are added to the stream within the model"):
        refuse_unserved(tmp_path, added, "nla_vllm")
