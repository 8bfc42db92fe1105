"""Every reader of files from unknown sources, each with whole files that it reads."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from safetensors.numpy import save_file

import bridge_toys.zoo
import dictionary_files
from bridge import load as load_bridge
from bridge.corpus import load_corpus
from bridge.dictionaries import DictionaryFormat
from bridge.directions import read_vectors, write_arrays
from bridge.errors import BridgeError
from bridge.files.json import read_json
from bridge.models import Placement, Weights
from bridge.models.resolve import user_aliases
from bridge.pipeline.jobs.results import read_input
from bridge.pipeline.plan.options import make_options, read_toml
from bridge.pipeline.transfer.contrast import load_contrast, read_labelled_rows
from bridge.plugins import Registry, discover
from bridge.readers import ReaderFormat
from bridge.readers.adapters import read_adapter
from bridge.readers.matrices import read_affine
from bridge.readers.reader import Affine
from bridge_verbalizers.jacobian_lens.lens_file import LensRecord, read_record, read_sum, write_lens
from bridge_verbalizers.jacobian_lens.released import open_released
from bridge_verbalizers.nla.sidecar import read_sidecar
from bridge_verbalizers.serving.embeddings import embed
from bridge_verbalizers.serving.journal import Journal
from report_files import audit_file
from short_commands import COMMANDS

CHECKPOINT = Path(bridge_toys.zoo.__file__).parent / "checkpoints/tiny-pythia-seed1"
"""A checkpoint whose files are 300 kB."""


@final
@dataclass(frozen=True)
class Subject:
    """A reader of files.

    Attributes:
        write: Writes whole files into an empty folder.
        read: Reads them.
        weight: How often it is chosen.
        files: Pattern of the files that are changed.
    """

    write: Callable[[Path], Any]
    read: Callable[[Path], Any]
    weight: int = 10
    files: str = "*"


def subjects(slow: bool) -> dict[str, Subject]:
    """Return every reader by name.

    Args:
        slow: Whether to include those that load whole models.
    """
    registry = discover()
    found = _corpora() | _documents() | _arrays() | _readers(registry) | _dictionaries(registry)
    return found | (_models(registry) if slow else {})


def _text(name: str, text: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


def _corpora() -> dict[str, Subject]:
    texts = [f"The text number {number} of a corpus." for number in range(6)]
    turns = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "No."}]} for text in texts
    ]
    records = [{"text": text, "group": "g", "topic": "t"} for text in texts]
    labelled = [
        {"text": f"{text} {side}", "class": side[:3]} for text in texts for side in ("glad", "sad", "glad!", "sad!")
    ]

    def parquet(folder: Path) -> None:
        import pyarrow
        import pyarrow.parquet

        table = pyarrow.Table.from_pylist(records[:3])
        pyarrow.parquet.write_table(table, folder / "a.parquet")
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(turns), folder / "b.parquet", compression="gzip")

    def corpus(name: str) -> Callable[[Path], Any]:
        return lambda folder: load_corpus(str(folder / name))

    lines = "\n".join(map(json.dumps, records + turns))
    return {
        "jsonl": Subject(_text("a.jsonl", lines), corpus("a.jsonl")),
        "json": Subject(_text("a.json", json.dumps(records + turns)), corpus("a.json")),
        "csv": Subject(_text("a.csv", "text,topic\n" + "".join(f'"{text}",t\n' for text in texts)), corpus("a.csv")),
        "text": Subject(_text("a.txt", "\n\n".join(texts)), corpus("a.txt")),
        "folder": Subject(lambda folder: [_text("a.md", texts[0])(folder), parquet(folder)], corpus(""), 20),
        "contrast": Subject(
            _text("a.jsonl", "\n".join(map(json.dumps, labelled))), lambda folder: load_contrast(folder / "a.jsonl", 0)
        ),
    }


def _documents() -> dict[str, Subject]:
    experiment = 'src = "dyck:seed0@1"\ndst = "dyck:seed1@1"\nmap = "ridge"\nfeatures = 3\nskip = 2\n'

    def aliases(folder: Path) -> Any:
        os.environ["BRIDGE_CONFIG_DIR"] = str(folder)
        return user_aliases()

    return {
        "experiment": Subject(
            _text("a.toml", experiment), lambda folder: make_options(**read_toml(folder / "a.toml")), 20
        ),
        "aliases": Subject(_text("aliases.toml", 'mine = "dyck:seed0@1"\n'), aliases),
        "result": Subject(
            lambda folder: audit_file(folder / "a.json"), lambda folder: read_input(folder / "a.json"), 20
        ),
        "config": Subject(
            _text("config.json", (CHECKPOINT / "config.json").read_text()),
            lambda folder: read_json(folder / "config.json", dict[str, Any]),
        ),
        "journal": Subject(
            _text("a.jsonl", '{"key": "a", "text": "b"}\n' * 3), lambda folder: Journal(folder / "a.jsonl").answers
        ),
    }


def _arrays() -> dict[str, Subject]:
    rows = {"x": np.ones((3, 4), np.float32), "y": np.zeros(4, np.float16)}
    labelled = {"rows": np.ones((4, 3), np.float32), "labels": np.array([0, 0, 1, 1])}
    square = np.ones((4, 4), np.float32)
    sums = {layer: np.eye(4) for layer in (0, 1)}
    record = LensRecord("m", "w", 4, 3, (0, 1), 1, 64, "float32", "c", ("p",), 9)

    def lens(folder: Path) -> None:
        write_lens(folder / "a.safetensors", sums, record)

    def read_lens(folder: Path) -> Any:
        found = read_record(folder / "a.safetensors")
        return [read_sum(folder / "a.safetensors", found, layer) for layer in found.layers]

    def released(folder: Path) -> None:
        document = {"J": {0: torch.eye(4).half(), 1: torch.eye(4).half()}, "n_prompts": 3, "source_layers": [0, 1]}
        torch.save(document | {"d_model": 4}, folder / "a.pt")

    def embedding(folder: Path) -> None:
        save_file({"model.embed_tokens.weight": square}, folder / "model.safetensors")

    return {
        "vectors": Subject(
            lambda folder: write_arrays(folder / "a.safetensors", rows, {"a": "b"}),
            lambda folder: read_vectors(folder / "a.safetensors"),
            20,
        ),
        "rows": Subject(
            lambda folder: save_file(labelled, folder / "a.safetensors"),
            lambda folder: read_labelled_rows(folder / "a.safetensors"),
        ),
        "matrix": Subject(
            lambda folder: save_file({"weight": square}, folder / "a.safetensors"),
            lambda folder: read_affine(Affine(file=folder / "a.safetensors"), 4),
        ),
        "lens": Subject(lens, read_lens, 20),
        "released lens": Subject(released, lambda folder: open_released(folder / "a.pt"), 20),
        "embeddings": Subject(embedding, lambda folder: embed(folder, {"model_type": "gpt2"}, [0, 3])),
    }


def _dictionaries(registry: Registry) -> dict[str, Subject]:
    formats = registry.dictionary_formats

    def read(form: DictionaryFormat) -> Callable[[Path], Any]:
        def load(folder: Path) -> Any:
            inner = next((path for path in sorted(folder.glob("**/")) if form.recognises(path)), None)
            return form.load(inner) if inner else None

        return load

    def write(name: str) -> Callable[[Path], Any]:
        return lambda folder: dictionary_files.WRITERS[name](folder / "layer_2")

    return {name: Subject(write(name), read(formats[name]), 20, "**/*") for name in dictionary_files.WRITERS}


def _readers(registry: Registry) -> dict[str, Subject]:
    def read(form: ReaderFormat) -> Callable[[Path], Any]:
        def describe(folder: Path) -> Any:
            return form.describe(folder / "a") if form.recognises(folder / "a") else None

        return describe

    def write(form: ReaderFormat) -> Callable[[Path], Any]:
        return lambda folder: form.example(folder / "a")

    def adapter(folder: Path) -> Any:
        return read_adapter(folder)

    found = {name: Subject(write(form), read(form), 10, "**/*") for name, form in registry.reader_formats.items()}
    zoo = CHECKPOINT.parent / "tiny-gemma/verbalizers/2/av"
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "rank_pattern": {"a": 3}}
    found["adapter config"] = Subject(_text("adapter_config.json", json.dumps(settings)), adapter)
    found["sidecar"] = Subject(
        lambda folder: shutil.copy(zoo / "nla_meta.yaml", folder), lambda folder: read_sidecar(folder, "av"), 30
    )
    return found


def _models(registry: Registry) -> dict[str, Subject]:
    adapter = registry.models["pythia"]

    def describe(folder: Path) -> Any:
        weights = Weights(str(folder))
        if not adapter.claims(weights):
            return None
        adapter.check_weights(weights)
        return adapter.describe(weights)

    def tokenizer(folder: Path) -> Any:
        return adapter.tokenizer(Weights(str(folder)))

    def load(folder: Path) -> Any:
        weights = Weights(str(folder))
        return adapter.load(weights, Placement("cpu", "float32")) if adapter.claims(weights) else None

    def copy(folder: Path) -> None:
        shutil.copytree(
            CHECKPOINT, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("dictionaries", "training*")
        )

    return {
        "described checkpoint": Subject(copy, describe, 30, "*.json"),
        "run folder": Subject(_run, _read_run, 40, "out/*"),
        "tokenizer": Subject(copy, tokenizer, 30, "tokenizer*.json"),
        "loaded checkpoint": Subject(copy, load, 40, "*[gs].*"),
        "gguf": Subject(_gguf, _unpack, 60, "*.gguf"),
    }


def _run(folder: Path) -> None:
    code = "import sys; from bridge.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, *COMMANDS["run"], "--quiet"]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def _read_run(folder: Path) -> Any:
    return read_input(folder / "out"), load_bridge(folder / "out")


def _gguf(folder: Path) -> None:
    from gguf import GGUFWriter

    writer = GGUFWriter(str(folder / "a.gguf"), "llama")
    for key, value in {"block_count": 1, "context_length": 64, "embedding_length": 8, "feed_forward_length": 8}.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["t", "0", *(f"t{number}" for number in range(30))])
    writer.add_token_types([1] * 32)
    writer.add_token_merges(["t 0"])
    parts = {"attn_q": 8, "attn_k": 8, "attn_v": 8, "attn_output": 8, "ffn_gate": 8, "ffn_up": 8, "ffn_down": 8}
    for name, width in parts.items():
        writer.add_tensor(f"blk.0.{name}.weight", np.ones((width, 8), np.float32))
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(8, np.float32))
    for name in ("token_embd", "output"):
        writer.add_tensor(f"{name}.weight", np.ones((32, 8), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _unpack(folder: Path) -> Any:
    from bridge.models.gguf_model import GgufFile
    from bridge.models.transformers_adapter import quiet

    if not (folder / "a.gguf").is_file():
        raise BridgeError("no file")
    with quiet():
        return GgufFile(folder / "a.gguf", folder).read(lambda _: None)
