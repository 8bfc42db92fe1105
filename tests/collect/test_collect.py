"""Collection gives the same rows however it is batched, interrupted, shared or short of memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge.collect import CollectSettings, activations_artifact, collect, pad
from bridge.collect import activations as collecting
from bridge.corpus import Corpus, Document
from bridge.errors import BridgeError, CorruptArtifactError, ModelError
from bridge.pairing import Encoded
from bridge.progress import Silent
from bridge.references import Site
from bridge.store import Artifact, Store

D = 16
SITES = (Site(1), Site(0, "mlp_out"))
CHUNK = 400


class Toy:
    """A causal "model": running sums of a token embedding, shifted by site; a character is a token, after one BOS."""

    name = "toy"
    d_model = D

    def __init__(self, room: int | None = None, error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.room, self.error = room, error
        self.shapes: list[tuple[int, int]] = []
        table = torch.randn((400, D), generator=torch.Generator().manual_seed(0))
        # Sums of integers are exact in any order, so that equal rows are equal bits.
        self.table = (table * 8).round()

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        encoded = []
        for document in documents:
            ids = np.array([1, *(ord(c) % 400 for c in document.text)])[:max_tokens]
            ends = np.arange(len(ids))
            ends[0] = -1
            encoded.append(Encoded(ids, ends))
        return encoded

    def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
        if self.room is not None and ids.numel() > self.room:
            raise self.error("DefaultCPUAllocator: can't allocate memory: you tried to allocate too much")
        self.shapes.append(tuple(ids.shape))
        assert ((ids > 0) == (mask > 0)).all(), "padding is on the right, and masked"
        sums = self.table[ids].cumsum(1)
        return [sums + site.layer for site in sites]


def make_corpus() -> Corpus:
    rng = np.random.default_rng(0)
    lengths = [*rng.integers(1, 90, 45).tolist(), 300]
    return Corpus("toy", tuple(Document(chr(97 + i % 26) * n + str(i), str(i)) for i, n in enumerate(lengths)))


CORPUS = make_corpus()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.corpus.shards.SHARD_CHARACTERS", CHUNK)
    monkeypatch.setattr(collecting, "TOKENS_PER_BATCH", {"cpu": 512})


def make(
    cache: Path, source: Toy, dtype: str = "float32", batch: int | None = None, cut: int = 160
) -> dict[Site, Artifact]:
    settings = CollectSettings(dtype, cut, batch)
    artifacts = {site: activations_artifact(Store(cache), "toy", site, CORPUS, settings) for site in SITES}
    collect(lambda: source, "toy", artifacts, CORPUS, settings, Silent())
    return artifacts


def gathered(artifact: Artifact) -> dict[str, torch.Tensor]:
    shards = [artifact.read(index) for index in range(len(CORPUS.chunks(CHUNK)))]
    return {name: torch.cat([shard[name] for shard in shards]) for name in ("rows", "norms")}


def one_at_a_time(site: Site, cut: int = 160) -> dict[str, torch.Tensor]:
    toy, rows = Toy(), []
    for encoded in toy.encode(CORPUS.documents, cut):
        ids = torch.from_numpy(encoded.ids)[None]
        rows.append(toy.activations(ids, torch.ones_like(ids), [site])[0][0, 1:])
    return {"rows": torch.cat(rows), "norms": torch.cat(rows).norm(dim=1)}


def contents(cache: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(cache)): path.read_bytes()
        for path in cache.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize(("batch", "cut"), [(None, 160), (1, 160), (7, 160), (None, 20), (1000, 1000)])
def test_rows_are_those_of_one_text_at_a_time(tmp_path: Path, batch: int | None, cut: int) -> None:
    source = Toy()
    artifacts = make(tmp_path, source, batch=batch, cut=cut)
    for site in SITES:
        found, expected = gathered(artifacts[site]), one_at_a_time(site, cut)
        assert torch.equal(found["rows"], expected["rows"])
        torch.testing.assert_close(found["norms"], expected["norms"])
    if batch is None:
        assert all(texts * tokens <= 512 or texts == 1 for texts, tokens in source.shapes)
        assert max(texts for texts, _ in source.shapes) > 1
    else:
        assert all(texts <= batch for texts, _ in source.shapes)


def test_texts_of_like_length_run_together(tmp_path: Path) -> None:
    source = Toy()
    make(tmp_path, source, batch=4)
    padded = sum(texts * tokens for texts, tokens in source.shapes)
    real = sum(len(encoded.ids) for encoded in Toy().encode(CORPUS.documents, 160))
    by_document_order = 0
    for chunk in CORPUS.chunks(CHUNK):
        lengths = [min(len(CORPUS.documents[i].text) + 1, 160) for i in chunk]
        by_document_order += sum(
            len(part) * max(part) for part in (lengths[i : i + 4] for i in range(0, len(lengths), 4))
        )
    assert padded - real < 0.6 * (by_document_order - real)


def test_rows_are_stored_in_the_dtype_asked_for(tmp_path: Path) -> None:
    found = gathered(make(tmp_path, Toy(), dtype="bfloat16")[Site(1)])
    assert found["rows"].dtype == torch.bfloat16
    assert found["norms"].dtype == torch.float32
    torch.testing.assert_close(found["norms"], found["rows"].float().norm(dim=1))
    assert torch.equal(found["rows"], one_at_a_time(Site(1))["rows"].bfloat16())


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError, RuntimeError])
def test_out_of_memory_halves_the_batch_and_changes_no_row(tmp_path: Path, error: type[Exception]) -> None:
    source = Toy(room=200, error=error)
    artifacts = make(tmp_path, source)
    assert torch.equal(gathered(artifacts[Site(1)])["rows"], one_at_a_time(Site(1))["rows"])
    budgets = [artifacts[Site(1)].info(index)["budget"] for index in range(len(CORPUS.chunks(CHUNK)))]
    assert budgets == sorted(budgets, reverse=True)
    assert budgets[-1] <= 256
    # Who goes on from the third shard starts with the budget that was found, and makes the same files.
    before = contents(tmp_path)
    for artifact in artifacts.values():
        for index in range(3, len(budgets)):
            (artifact.path / f"shard-{index:05d}.json").unlink()
    resumed = Toy(room=200, error=error)
    make(tmp_path, resumed)
    assert contents(tmp_path) == before
    assert resumed.shapes == source.shapes[-len(resumed.shapes) :]


def test_a_text_that_alone_is_too_long_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(BridgeError, match=r"One text of 160 tokens does not fit.*--max-tokens"):
        make(tmp_path, Toy(room=159))


def test_another_runtime_error_is_not_taken_for_a_lack_of_memory(tmp_path: Path) -> None:
    class Broken(Toy):
        def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        make(tmp_path, Broken())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_activations_that_are_no_numbers_are_refused_by_site_text_and_token(tmp_path: Path, value: float) -> None:
    class Sick(Toy):
        def activations(self, ids: torch.Tensor, mask: torch.Tensor, sites: Sequence[Site]) -> list[torch.Tensor]:
            outputs = super().activations(ids, mask, sites)
            # The documents of "f" are the 6th, 32nd, ...; from their fourth token on, one site breaks.
            sick = (ids == ord("f")).sum(1) > 0
            outputs[list(sites).index(Site(1))][sick, 3:, 5] = value
            return outputs

    text = CORPUS.documents[5].text
    assert len(text) > 4
    with pytest.raises(
        ModelError, match=rf"toy gives NaN or infinite .* site 1: .* token 3 of the document '{text[:20]}"
    ):
        make(tmp_path, Sick())
    artifacts = {
        site: activations_artifact(Store(tmp_path), "toy", site, CORPUS, CollectSettings("float32", 160))
        for site in SITES
    }
    first_bad = next(i for i, chunk in enumerate(CORPUS.chunks(CHUNK)) if 5 in chunk)
    kept = [index for index in range(len(CORPUS.chunks(CHUNK))) if all(one.has(index) for one in artifacts.values())]
    assert kept == list(range(first_bad)), "what was finished before is kept"


def test_what_is_there_is_not_computed_and_what_is_damaged_is(tmp_path: Path) -> None:
    artifacts = make(tmp_path, Toy())
    before = contents(tmp_path)
    idle = Toy()
    make(tmp_path, idle)
    assert idle.shapes == []
    shard = artifacts[SITES[1]].path / "shard-00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[-3] ^= 4
    shard.write_bytes(data)
    with pytest.raises(CorruptArtifactError):
        activations_artifact(Store(tmp_path), "toy", SITES[1], CORPUS, CollectSettings("float32", 160)).read(2)
    mended = Toy()
    make(tmp_path, mended)
    assert sum(texts for texts, _ in mended.shapes) == len(CORPUS.chunks(CHUNK)[2])
    assert contents(tmp_path) == before


def test_other_models_sites_texts_and_settings_are_other_artifacts(tmp_path: Path) -> None:
    store, base = Store(tmp_path), CollectSettings("float32", 160)
    other = Corpus("toy", CORPUS.documents[:-1])
    artifacts = [
        activations_artifact(store, "toy", Site(1), CORPUS, base),
        activations_artifact(store, "toy2", Site(1), CORPUS, base),
        activations_artifact(store, "toy", Site(1, "mlp_out"), CORPUS, base),
        activations_artifact(store, "toy", Site(1), other, base),
        activations_artifact(store, "toy", Site(1), CORPUS, CollectSettings("bfloat16", 160)),
        activations_artifact(store, "toy", Site(1), CORPUS, CollectSettings("float32", 161)),
        activations_artifact(store, "toy", Site(1), CORPUS, CollectSettings("float32", 160, 8)),
    ]
    assert len({artifact.path for artifact in artifacts}) == len(artifacts)


def test_padding() -> None:
    ids, mask = pad([np.array([5, 6, 7]), np.array([8]), np.array([], dtype=np.int64)])
    assert ids.tolist() == [[5, 6, 7], [8, 0, 0], [0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import test_collect
from bridge.collect import activations as collecting
from bridge.corpus import shards

shards.SHARD_CHARACTERS, collecting.TOKENS_PER_BATCH = test_collect.CHUNK, {"cpu": 512}

class Slow(test_collect.Toy):
    def activations(self, ids, mask, sites):
        time.sleep(float(sys.argv[3]))
        return super().activations(ids, mask, sites)

toy = Slow(room=300)
test_collect.make(Path(sys.argv[2]), toy)
print(len(toy.shapes))
"""


def child(cache: Path, delay: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(Path(__file__).parent), str(cache), str(delay)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def finished(process: subprocess.Popen[str]) -> int:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return int(output)


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "whole", Toy(room=300))
    expected = contents(tmp_path / "whole")
    shards = sum(name.endswith(".safetensors") for name in expected)
    for enough in (1, 2 * shards // 3):
        process = child(tmp_path / "killed", 0.05)
        deadline = time.monotonic() + 60
        while len(list((tmp_path / "killed").rglob("shard-*.json"))) < enough:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.communicate()
    done = [name for name in contents(tmp_path / "killed") if name.endswith(".json") and "shard" in name]
    assert enough <= len(done) < shards
    resumed = Toy(room=300)
    make(tmp_path / "killed", resumed)
    assert resumed.shapes
    assert contents(tmp_path / "killed") == expected


def test_two_processes_at_once_share_the_work_and_the_result(tmp_path: Path) -> None:
    make(tmp_path / "alone", Toy(room=300))
    processes = [child(tmp_path / "shared", 0.01) for _ in range(2)]
    passes = [finished(process) for process in processes]
    assert contents(tmp_path / "shared") == contents(tmp_path / "alone")
    assert min(passes) == 0 < max(passes), "the second waits, and finds everything done"
