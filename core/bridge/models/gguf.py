"""GGUF files become ordinary checkpoints once, in the store: reading one takes a minute, the checkpoint a second."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from pathlib import Path

from bridge.errors import ModelError
from bridge.progress import Progress
from bridge.store import Artifact, Store, canonical_json, sha256, write_bytes, writing

HASHES = "checkpoint.json"


def checkpoint_of_gguf(path: Path, store: Store, progress: Progress) -> Path:
    """Return a folder with the file's model and tokenizer in Hugging Face layout, weights dequantised to float32.

    Args:
        path: A `.gguf` file.
        store: Where the folder is kept, by the file's content.
        progress: Is told that this takes a while.

    Raises:
        ModelError: If transformers cannot read the file.
    """
    artifact = store.artifact("checkpoints", {"gguf": sha256(path)})
    done = artifact.path / "checkpoint"
    with artifact.lock():
        if not _is_intact(done, artifact.path / HASHES):
            progress.note(f"Unpacking {path.name} (once; up to a minute).")
            shutil.rmtree(done, ignore_errors=True)
            _convert(path, artifact, done)
    return done


def _is_intact(done: Path, hashes: Path) -> bool:
    try:
        expected = json.loads(hashes.read_text(encoding="utf-8"))
        return bool(expected == {file.name: sha256(file) for file in done.iterdir()})
    except (OSError, ValueError):
        return False


def _convert(path: Path, artifact: Artifact, done: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    from bridge.models.transformers_adapter import quiet

    where = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    try:
        # The reader draws a bar of its own, terminal or not.
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            model = AutoModelForCausalLM.from_pretrained(
                **where, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
            )
            tokenizer = AutoTokenizer.from_pretrained(**where)
    except Exception as error:  # the GGUF reader raises whatever a damaged header makes it stumble over
        raise ModelError(
            f"{path} cannot be read as GGUF ({type(error).__name__}: {error}).",
            cause="The file is truncated or damaged, or holds an architecture that transformers does not know.",
            remedy="Fetch it again, or use the original checkpoint.",
        ) from error
    with writing(done), quiet():
        unfinished = artifact.path / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        # A dequantised model still says that it is quantised, and could then not be saved.
        model.hf_quantizer = None
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.save_pretrained(unfinished)
        tokenizer.save_pretrained(unfinished)
        hashes = {file.name: sha256(file) for file in unfinished.iterdir()}
        write_bytes(artifact.path / HASHES, canonical_json(hashes).encode())
        unfinished.rename(done)
