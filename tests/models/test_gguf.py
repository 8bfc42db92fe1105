"""GGUF files: the numbers that transformers would read, all of them, none made up, and unpacked once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    FalconConfig,
    GgufConfig,
    Lfm2Config,
    LlamaConfig,
    Qwen3MoeConfig,
)
from transformers.modeling_gguf_pytorch_utils import Qwen2MoeTensorProcessor, TensorProcessor, get_gguf_hf_weights_map

from bridge.errors import ModelError, StoreError
from bridge.models.gguf import checkpoint_of_gguf
from bridge.models.gguf_reader import QuickReader, dequantised, read_quickly
from bridge.progress import Advance, Progress
from bridge.store import Store
from gguf_files import keys_of, llama_tensors, write

KINDS = tuple(
    gguf.GGMLQuantizationType[kind]
    for kind in ("Q4_1", "Q8_0", "F16", "Q4_K", "BF16", "Q6_K", "Q4_0", "Q5_0", "Q5_1", "F32")
)
SHAPE: dict[str, Any] = {
    "vocab_size": 512,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
Content = tuple[str, dict[str, Any], dict[str, np.ndarray]]


class Recorder(Progress):
    """Remembers what it is told, and stops at a number of units as Ctrl-C would."""

    def __init__(self, stop: float = float("inf")) -> None:
        self.notes: list[str] = []
        self.stages: list[tuple[str, int, int]] = []
        self._stop = stop

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        done = 0

        def advance(units: int = 1) -> None:
            nonlocal done
            done += units
            if done >= self._stop:
                raise KeyboardInterrupt

        yield advance
        self.stages.append((name, total, done))

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture(scope="module")
def llama(tiny_models: Mapping[str, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> Content:
    """A Llama wide enough for blocks of 256."""
    folder = tmp_path_factory.mktemp("llama")
    config = LlamaConfig(**SHAPE | {"hidden_size": 256, "intermediate_size": 512})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return ("llama", *llama_tensors(folder))


@pytest.fixture(scope="module")
def experts() -> Content:
    """A mixture of experts: their matrices lie in the file otherwise than in the model."""
    config = Qwen3MoeConfig(**SHAPE, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=768)
    keys = {"expert_count": 4, "expert_used_count": 2, "attention.key_length": 8}
    return "qwen3moe", keys_of(config) | keys, mapped_tensors(config, Qwen2MoeTensorProcessor)


@pytest.fixture(scope="module")
def untied() -> Content:
    """An output matrix of its own, where transformers expects none."""
    config = FalconConfig(**SHAPE)
    return "falcon", keys_of(config), mapped_tensors(config, TensorProcessor)


def mapped_tensors(config: Any, processor: type[TensorProcessor]) -> dict[str, np.ndarray]:
    """Make up every tensor that transformers looks for in a file."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    rng, tensors = np.random.default_rng(0), {}
    for name, place in get_gguf_hf_weights_map(model, processor(config=config.to_dict())).items():
        shape = list(model.state_dict()[place].shape)
        if place.endswith("gate_up_proj"):
            shape[1] //= 2
        suffix = "" if name.endswith((".weight", ".bias")) else ".weight"
        tensors[name + suffix] = rng.normal(0, 0.1, shape).astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def convolutions() -> Content:
    """An architecture that transformers reads another way."""
    rng = np.random.default_rng(1)
    shapes: dict[str, tuple[int, ...]] = {"token_embd": (512, 32), "token_embd_norm": (32,)}
    for block in ("blk.0", "blk.1"):
        shapes |= {f"{block}.{norm}_norm": (32,) for norm in ("attn", "ffn")}
        shapes |= {f"{block}.ffn_{part}": (64, 32) for part in ("gate", "up")} | {f"{block}.ffn_down": (32, 64)}
    shapes |= {f"blk.0.shortconv.{part}": shape for part, shape in (("conv", (32, 3)), ("out_proj", (32, 32)))}
    shapes |= {"blk.0.shortconv.in_proj": (96, 32), "blk.1.attn_q": (32, 32), "blk.1.attn_output": (32, 32)}
    shapes |= {"blk.1.attn_k": (16, 32), "blk.1.attn_v": (16, 32), "blk.1.attn_q_norm": (8,), "blk.1.attn_k_norm": (8,)}
    tensors = {f"{name}.weight": rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in shapes.items()}
    keys = keys_of(Lfm2Config(**SHAPE)) | {"attention.head_count_kv": [0, 2], "shortconv.l_cache": 3}
    return "lfm2", keys, tensors


@pytest.fixture
def file(tmp_path: Path, tiny_models: Mapping[str, list[Path]]) -> Callable[..., Path]:
    def make(content: Content, kinds: tuple[gguf.GGMLQuantizationType, ...] = KINDS, **changes: Any) -> Path:
        architecture, keys, tensors = content
        keys = keys | changes.get("keys", {})
        tensors = {name: tensor for name, tensor in tensors.items() if name not in changes.get("without", ())}
        path = tmp_path / "files" / "tiny.gguf"
        path.parent.mkdir(exist_ok=True)
        write(path, architecture, keys, tensors | changes.get("tensors", {}), tiny_models["llama"][0], kinds)
        return path

    return make


def by_transformers(path: Path, folder: Path) -> Path:
    """Leave in `folder` what transformers alone makes of a file."""
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize("name", ["llama", "experts", "untied", "convolutions"])
def test_a_file_is_unpacked_as_transformers_does_byte_for_byte(
    name: str, request: pytest.FixtureRequest, file: Callable[..., Path], tmp_path: Path
) -> None:
    path = file(request.getfixturevalue(name), KINDS if name == "llama" else KINDS[1:3])
    told = Recorder()
    ours = files(checkpoint_of_gguf(path, Store(tmp_path / "store"), told))
    theirs = files(by_transformers(path, tmp_path / "theirs"))
    assert ours.keys() == theirs.keys() >= {"config.json", "model.safetensors", "tokenizer.json"}
    assert [name for name in ours if ours[name] != theirs[name]] == []
    [(stage, total, done)] = told.stages
    assert stage.endswith("tiny.gguf")
    size = sum(tensor.n_elements for tensor in gguf.GGUFReader(path).tensors) * 4 // 10**6
    assert done == total == 2 * size


def test_the_quick_reader_reads_what_the_slow_one_does(llama: Content, file: Callable[..., Path]) -> None:
    path = file(llama, keys={"lists.of_floats": [0.5, 2.0], "lists.of_flags": [True, False], "lists.one": ["naïve 🙂"]})
    ours, theirs = QuickReader(path), gguf.GGUFReader(path)
    assert list(ours.fields) == list(theirs.fields)
    for name, field in theirs.fields.items():
        assert ours.fields[name][:2] + ours.fields[name][3:] == field[:2] + field[3:]
        for part, wanted in zip(ours.fields[name].parts, field.parts, strict=True):
            assert part.dtype == wanted.dtype
            np.testing.assert_array_equal(part, wanted)
        assert ours.fields[name].contents() == field.contents()
    assert [tensor.name for tensor in ours.tensors] == [tensor.name for tensor in theirs.tensors]
    for tensor, wanted in zip(ours.tensors, theirs.tensors, strict=True):
        counted: list[int] = []
        numbers = gguf.dequantize(wanted.data, wanted.tensor_type)
        np.testing.assert_array_equal(dequantised(tensor, counted.append), numbers, strict=True)
        assert sum(counted) == numbers.size
    with read_quickly():
        assert gguf.GGUFReader is QuickReader
    assert gguf.GGUFReader is gguf.gguf_reader.GGUFReader


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("llama", {"tensors": {"blk.1.attn_q.bias": np.ones(256, np.float32)}}, "no place for: blk.1.attn_q.bias"),
        ("llama", {"tensors": {"output_norm.weight": np.ones(255, np.float32)}}, "other shapes .*: model.norm.weight"),
        ("llama", {"without": ["blk.1.ffn_up.weight"]}, "lacks weights .*: model.layers.1.mlp.up_proj.weight"),
        ("experts", {"without": ["blk.1.ffn_up_exps.weight"]}, "lacks tensors: blk.1.ffn_up_exps"),
        ("convolutions", {"tensors": {"blk.0.what.weight": np.ones(4, np.float32)}}, "no place for: .*0.what.weight"),
        ("convolutions", {"without": ["blk.0.ffn_up.weight"]}, "lacks weights .*: model.layers.0.feed_forward.w3"),
    ],
)
def test_nothing_is_left_out_or_made_up(
    name: str,
    changes: dict[str, Any],
    message: str,
    request: pytest.FixtureRequest,
    file: Callable[..., Path],
    tmp_path: Path,
) -> None:
    path = file(request.getfixturevalue(name), KINDS[1:3], **changes)
    for _ in range(2):
        with pytest.raises(ModelError, match=message):
            checkpoint_of_gguf(path, Store(tmp_path / "store"), Recorder())
    assert not list((tmp_path / "store").rglob("*.safetensors"))


def test_neighbours_do_not_count(llama: Content, file: Callable[..., Path], tmp_path: Path) -> None:
    told = Recorder()
    path = file(llama)
    alone = files(checkpoint_of_gguf(path, Store(tmp_path / "store"), told))
    (path.parent / "tokenizer_config.json").write_text('{"add_bos_token": true, "model_max_length": 7}')
    assert files(checkpoint_of_gguf(path, Store(tmp_path / "other"), told)) == alone


def test_a_file_is_unpacked_once(llama: Content, file: Callable[..., Path], tmp_path: Path) -> None:
    path, store = file(llama), Store(tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        checkpoint_of_gguf(path, store, Recorder(stop=3))
    [artifact] = (store.root / "checkpoints").iterdir()
    assert [entry.name for entry in artifact.iterdir() if not entry.name.startswith(".")] == []
    (artifact / "unfinished").mkdir()  # as `kill -9` leaves it
    (artifact / "unfinished" / "model.safetensors").write_bytes(b"half")
    told = Recorder()
    with ThreadPoolExecutor(2) as two:
        first, second = two.map(lambda _: checkpoint_of_gguf(path, store, told), range(2))
    assert first == second
    assert [note.split()[0] for note in told.notes] == ["Unpacking"]
    os.utime(path, (1e9, 1e9))
    (first / ".DS_Store").touch()
    moved = shutil.move(path, tmp_path / "moved.gguf")
    assert checkpoint_of_gguf(moved, store, told) == first
    assert len(told.notes) == 1
    (first / "config.json").write_text("{}")
    checkpoint_of_gguf(moved, store, told)
    assert len(told.notes) == 2, "a damaged checkpoint is unpacked again"
    assert "llama" in (first / "config.json").read_text()


def test_a_full_disk_is_said_and_left_clean(llama: Content, file: Callable[..., Path], tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows has no limits on files")
    path, store = file(llama), Store(tmp_path / "store")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10**6, before[1]))
    try:
        with pytest.raises(StoreError, match="could not be written"):
            checkpoint_of_gguf(path, store, Recorder())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(store.root.rglob("*.safetensors"))
