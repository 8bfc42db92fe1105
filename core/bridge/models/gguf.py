"""GGUF files become ordinary checkpoints once, in the store: reading one takes ten seconds, the checkpoint one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bridge.errors import ModelError
from bridge.files import sync_file, writing
from bridge.files.bounded import open_plain
from bridge.files.sealed import read_kept, sha256, write_kept
from bridge.progress import Progress
from bridge.store import Artifact, Store

HASHES = "checkpoint.json"
FORMAT = 3  # 3: what the metadata says of the forward pass is in the configuration


def checkpoint_of_gguf(path: Path, store: Store, progress: Progress) -> Path:
    """Return a folder with the file's model and tokenizer in Hugging Face layout, weights dequantised to float32.

    Args:
        path: A `.gguf` file.
        store: Store for the folder, with the file's content as the key.
        progress: Receives the file's name and the progress of unpacking.

    Raises:
        ModelError: If transformers cannot read the file, or would omit or invent a tensor.
        StoreError: If the folder cannot be written.
    """
    try:
        open_plain(path).close()
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}).") from error
    artifact = store.artifact("checkpoints", {"gguf": store.hash_of(path)})
    done = artifact.path / "checkpoint"
    with artifact.lock(f"unpack {path.name}", progress.note):
        if not _is_intact(done, artifact.path / HASHES, store):
            shutil.rmtree(done, ignore_errors=True)
            _unpack(path, artifact, done, progress)
    return done


def _is_intact(done: Path, hashes: Path, store: Store) -> bool:
    try:
        found = {file.name: store.hash_of(file) for file in done.iterdir() if not file.name.startswith(".")}
    except OSError:
        return False
    return read_kept(hashes, dict[str, Any]) == {"format": FORMAT, "files": found}


def _unpack(path: Path, artifact: Artifact, done: Path, progress: Progress) -> None:
    from bridge.models.gguf_model import GgufFile
    from bridge.models.transformers_adapter import quiet

    unfinished = artifact.path / "unfinished"
    with writing(done):
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
    progress.note(f"Unpacking {path.name} ({path.stat().st_size / 1e6:,.0f} MB), once.")
    try:
        with quiet():
            file = GgufFile(path, unfinished)
            # Every megabyte counts twice, since writing takes about as long as dequantising.
            with progress.stage(f"unpack and write {path.name}", 2 * file.megabytes, "MB") as advance:
                model, tokenizer = file.read(advance)
                with writing(done):
                    _save(model, tokenizer, unfinished)
                    hashes = {entry.name: _kept(entry) for entry in unfinished.iterdir()}
                    write_kept(artifact.path / HASHES, {"format": FORMAT, "files": hashes})
                    unfinished.rename(done)
                advance(file.megabytes)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    from safetensors import SafetensorError

    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except SafetensorError as error:  # also if the disk is full
        raise OSError(str(error)) from error


def _kept(file: Path) -> str:
    """Return the file's SHA-256 once it is on the disk, so that its name never outlives its content."""
    sync_file(file)
    return sha256(file)
