"""Collection gives the same rows however it is batched, interrupted, shared or short of memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge.collect import CollectSettings, activations_artifact, pad
from bridge.collect import activations as collecting
from bridge.corpus import Corpus
from bridge.errors import BridgeError, CorruptArtifactError, ModelError
from bridge.references import Site
from bridge.store import Artifact, Store
from toy_collection import CHUNK, CORPUS, SITES, Notes, Order, Rounding, Toy, Worker, contents, make


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.corpus.shards.SHARD_CHARACTERS", CHUNK)
    monkeypatch.setattr(collecting, "TOKENS_PER_BATCH", {"cpu": 512})


def gathered(artifact: Artifact) -> dict[str, torch.Tensor]:
    shards = [artifact.read(index) for index in range(len(CORPUS.chunks(CHUNK)))]
    return {name: torch.cat([shard[name] for shard in shards]) for name in ("rows", "norms")}


def one_at_a_time(site: Site, cut: int = 160) -> dict[str, torch.Tensor]:
    toy, rows = Toy(), []
    for encoded in toy.encode(CORPUS.documents, cut):
        ids = torch.from_numpy(encoded.ids)[None]
        rows.append(toy.activations(ids, torch.ones_like(ids), [site])[0][0, 1:])
    return {"rows": torch.cat(rows), "norms": torch.cat(rows).norm(dim=1)}


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
    notes = Notes()
    artifacts = make(tmp_path, source, progress=notes)
    assert torch.equal(gathered(artifacts[Site(1)])["rows"], one_at_a_time(Site(1))["rows"])
    halved = [artifacts[Site(1)].info(index)["halved"] for index in range(len(CORPUS.chunks(CHUNK)))]
    assert all(halved)
    assert f"memory ran out in {len(halved)} of {len(halved)} shards (0,1,2" in notes.notes[-1]
    # Who goes on from the third shard does not know what did not fit, and makes the same files.
    before = contents(tmp_path)
    for artifact in artifacts.values():
        for index in range(3, len(halved)):
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


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    make(tmp_path / "whole", Rounding(room=300))
    expected = contents(tmp_path / "whole")
    shards = sum(name.endswith(".safetensors") for name in expected)
    for passes in (3, 9):
        killed = Worker(Order(tmp_path / "killed", room=300, halt=passes))
        killed.go()
        assert killed.hear() == "halted"
        killed.stop()
        assert any(name.endswith(".claim") for name in contents(tmp_path / "killed")), "it died within a shard"
    assert 0 < sum(name.endswith(".safetensors") for name in contents(tmp_path / "killed")) < shards
    resumed = Rounding(room=300)
    make(tmp_path / "killed", resumed)
    assert resumed.shapes
    assert contents(tmp_path / "killed") == expected
