"""Small files that are large when they are read: refused before they are expanded, by a limit that can be raised."""

from __future__ import annotations

import io
import json
import os
import resource
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from gguf import GGUFWriter

from bridge.corpus import load_corpus
from bridge.directions import read_arrays
from bridge.errors import BridgeError, CorpusError, UsageError
from bridge.files.bounded import read_bytes
from bridge.files.limits import Limits, limits
from bridge.files.yaml import read_yaml
from bridge.models import Weights
from bridge.models.gguf import checkpoint_of_gguf
from bridge.progress import Silent
from bridge.store import Store
from bridge_dictionaries.dictionary_learning import DictionaryLearning
from bridge_dictionaries.gemma_scope import GemmaScope

MB = 10**6


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    """Fail a test that takes more than 300 MB beyond what the process has had, or 20 s."""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    assert time.monotonic() - start < 20


def test_limits_are_raised_and_lowered_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_LIMITS", "record=200MB, blocks=12,arrays = 8gb")
    assert limits() == Limits(record=200 * MB, blocks=12, arrays=8000 * MB)
    for wrong, said in (
        ("lines=3", "unknown limit 'lines'"),
        ("record=much", "the size 'much'"),
        ("record", "size ''"),
    ):
        monkeypatch.setenv("BRIDGE_LIMITS", wrong)
        with pytest.raises(UsageError, match=said):
            limits()


def test_a_line_of_a_corpus_is_bounded_and_the_bound_can_be_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, start in (("a.jsonl", '{"text": "'), ("a.txt", "word "), ("a.csv", "text\n"), ("a.json", '[{"text": "')):
        (tmp_path / name).write_text(start + "a" * 40 * MB)
        with pytest.raises(BridgeError, match=r"more than the limit (record|document) of 32\.0 MB.*BRIDGE_LIMITS="):
            load_corpus(str(tmp_path / name))
    with pytest.raises(BridgeError, match="limit record"):
        load_corpus("-", io.StringIO('{"text": "' + "a" * 40 * MB))
    monkeypatch.setenv("BRIDGE_LIMITS", "record=100")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "a" * 100}))
    with pytest.raises(BridgeError, match="limit record"):
        load_corpus(str(tmp_path / "b.jsonl"))
    monkeypatch.setenv("BRIDGE_LIMITS", "record=150")
    assert len(load_corpus(str(tmp_path / "b.jsonl")).documents) == 1
    monkeypatch.setenv("BRIDGE_LIMITS", "corpus=1KB")
    (tmp_path / "c.txt").write_text("\n\n".join(f"{number} words" for number in range(9)))
    with pytest.raises(BridgeError, match="limit corpus"):
        load_corpus(str(tmp_path / "c.txt"))
    assert len(load_corpus(str(tmp_path / "c.txt"), max_documents=1).documents) == 1


@pytest.mark.parametrize("nested", [False, True])
def test_many_references_of_parquet_to_one_text(tmp_path: Path, nested: bool) -> None:
    path, text = tmp_path / "a.parquet", "a" * 300_000
    one = pyarrow.array([text]).dictionary_encode()
    rows = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 6000, pyarrow.int32()), one.dictionary)
    if nested:
        turn = pyarrow.StructArray.from_arrays([pyarrow.array(["user"] * 6000), rows], ["role", "content"])
        rows = pyarrow.ListArray.from_arrays([0, 6000], turn)
    table = pyarrow.table({"messages" if nested else "text": rows})
    pyarrow.parquet.write_table(table, path, compression="zstd")
    assert path.stat().st_size < 20_000
    if nested:
        with pytest.raises(BridgeError, match="limit"):
            load_corpus(str(path))
    else:
        assert len(load_corpus(str(path)).documents) == 1


def test_a_list_of_parquet_with_millions_of_nulls(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = pyarrow.array([[None] * 3_000_000], pyarrow.list_(pyarrow.string()))
    pyarrow.parquet.write_table(pyarrow.table({"messages": rows}), path)
    with pytest.raises(BridgeError, match="limit entries"):
        load_corpus(str(path))


def test_archives_of_arrays_are_measured_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "params.npz"
    zeros = io.BytesIO()
    np.lib.format.write_array_header_1_0(zeros, {"descr": "<f4", "fortran_order": False, "shape": (750, 10**6)})
    packed = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive, archive.open("W_enc.npy", "w", force_zip64=True) as member:
        member.write(zeros.getvalue())
        for _ in range(60):
            member.write(bytes(20 * MB))
    with pytest.raises(BridgeError, match=r"has 1\.2 GB, more than the limit arrays of 1\.0 GB"):
        GemmaScope().load(path)
    monkeypatch.setenv("BRIDGE_LIMITS", "arrays=1KB")
    np.savez_compressed(path, W_enc=np.zeros((50, 50), np.float32))
    with pytest.raises(BridgeError, match="limit arrays"):
        GemmaScope().load(path)


def test_tensors_larger_than_their_storage(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder"}}))
    wide = torch.zeros(1).as_strided((30_000, 30_000), (0, 0))
    torch.save({"encoder.weight": wide, "bias": torch.zeros(3)}, tmp_path / "ae.pt")
    assert (tmp_path / "ae.pt").stat().st_size < 3000
    with pytest.raises(BridgeError, match=r"has 3\.6 GB, more than the limit arrays"):
        DictionaryLearning().load(tmp_path)


def test_gguf_files_of_metadata_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(name: str, **keys: int) -> None:
        writer = GGUFWriter(str(tmp_path / name), "llama")
        writer.add_block_count(keys.pop("blocks", 32))
        for key, value in keys.items():
            writer.add_array(key, [value] * 20_000) if key == "flags" else writer.add_string(key, "a" * value)
        writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32)) if name != "empty.gguf" else None
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        checkpoint_of_gguf(tmp_path / name, Store(tmp_path / "store"), Silent())

    with pytest.raises(BridgeError, match="it has no tensors"):
        unpack("empty.gguf")
    with pytest.raises(BridgeError, match="its block_count is 32, and it has 1 tensors"):
        unpack("deep.gguf")
    monkeypatch.setenv("BRIDGE_LIMITS", "entries=10000")
    with pytest.raises(BridgeError, match="limit entries"):
        unpack("long.gguf", flags=1)
    with pytest.raises(BridgeError, match="limit metadata"):
        unpack("wide.gguf", text=70 * MB, next=1, last=1)


def test_headers_of_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((80 * MB).to_bytes(8, "little") + b"{")
    with pytest.raises(BridgeError, match="header should have"):
        read_arrays(path)
    with path.open("r+b") as file:
        file.truncate(90 * MB)
    with pytest.raises(BridgeError, match="limit metadata"):
        read_arrays(path)


def test_models_of_billions_of_layers(tmp_path: Path) -> None:
    for key, config in (("text", {"text_config": {"num_hidden_layers": 10**9}}), ("n_layer", {"n_layer": 10**9})):
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **config}))
        with pytest.raises(BridgeError, match="1,000,000,000 blocks, more than the limit"):
            _ = Weights(str(tmp_path)).config
        assert key


def test_an_index_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    for name in ("../secret.safetensors", "/etc/passwd", "a\\..\\..\\b", "C:\\x", ""):
        index = {"weight_map": {"a": "model-1.safetensors", "b": name}}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(BridgeError, match="outside the folder"):
            Weights(str(tmp_path)).tensor_files(fetch=False)


def test_yaml_has_no_aliases_and_no_key_twice(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    laughs = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))])
    for text, said in (
        (laughs, "an alias in line 2"),
        ("a: 1\nb: 2\na: 3", "a key occurs twice"),
        ("[" * 5000, "not YAML"),
        ("a: 2020-99-99", "not YAML"),
        ("!!python/object/apply:os.system [x]", "not YAML"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_yaml(path)
    path.write_text("a: " + "b" * 300_000)
    with pytest.raises(BridgeError, match="limit settings"):
        read_yaml(path)


def test_pipes_and_devices_are_no_files(tmp_path: Path) -> None:
    pipe = tmp_path / "a.jsonl"
    os.mkfifo(pipe)
    for path in (pipe, Path("/dev/zero"), tmp_path):
        with pytest.raises(OSError, match="not a plain file"):
            read_bytes(path)
        with pytest.raises(BridgeError, match="not a plain file"):
            read_arrays(path)
    with pytest.raises(CorpusError, match=r"not a plain file.*--corpus -"):
        load_corpus(str(pipe))
    reader, writer = os.pipe()
    os.write(writer, b"words from a pipe of the shell\n")
    os.close(writer)
    assert load_corpus(f"/dev/fd/{reader}").documents[0].text == "words from a pipe of the shell"
    os.close(reader)
