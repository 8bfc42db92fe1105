"""Content-addressed artifacts on disk: sharded, hashed, claimed, resumable after `kill -9`, verified on read.

An artifact's folder is named by the hash of its *recipe* (everything its content depends on). Each shard is a
safetensors file with a sealed sidecar that holds its hash; the sidecar is written last, so a shard without a sidecar
counts as missing. Every file is written under a temporary name, fsynced and renamed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from bridge.claims import Claim
from bridge.errors import CorruptArtifactError, StoreError
from bridge.files import RACY_NS, cache_folder, stamp_of, write_bytes, write_pieces, writing
from bridge.files.safetensors import pieces
from bridge.files.sealed import read_kept, sha256, write_kept
from bridge.files.temporaries import sweep_temporaries
from bridge.waiting import held

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
_SHA256 = re.compile("[0-9a-f]{64}")


@final
class Store:
    """The folder of all artifacts, `BRIDGE_CACHE_DIR` or the user's cache folder."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or cache_folder()

    def artifact(self, kind: str, recipe: Mapping[str, Any]) -> Artifact:
        """Return the artifact of a recipe; it may not exist yet."""
        body = canonical_json({"format": FORMAT, "kind": kind, **recipe})
        key = hashlib.sha256(body.encode()).hexdigest()[:32]
        return Artifact(self.root / kind / key, recipe)

    def hash_of(self, path: Path) -> str:
        """Return a file's SHA-256, cached until the file changes.

        The cache key is path, inode, size and both times of change, so that a replaced file and a time that was set
        back are both detected. A file that changed a moment ago is not cached: file systems' clocks are coarse, and
        a later write might have the same times (git calls such a file "racily clean").

        Raises:
            OSError: If the file cannot be read.
            StoreError: If the store cannot be written.
        """
        stamp, changed = stamp_of(path)
        memo = self.root / "hashes" / hashlib.sha256(canonical_json(stamp).encode()).hexdigest()
        if _SHA256.fullmatch(kept := read_kept(memo, str) or ""):
            return kept
        settled = time.time_ns() - changed > RACY_NS
        digest = sha256(path)
        if settled and stamp_of(path) == (stamp, changed):
            sweep_temporaries(memo.parent)
            with contextlib.suppress(StoreError):  # a read-only cache is still useful
                write_kept(memo, digest)
        return digest


@final
class Artifact:
    """Shards of named tensors in one folder, and their recipe."""

    def __init__(self, path: Path, recipe: Mapping[str, Any]) -> None:
        self.path = path
        self.recipe = dict(recipe)
        self._verified: dict[int, tuple[int, int]] = {}

    def claim(self, index: int) -> Claim:
        """Return a claim of one shard, for workers that fill the artifact together; it is not taken yet.

        Args:
            index: Number of the shard.
        """
        return Claim(self.path / f".{self._shard(index).stem}.claim")

    def discard_unfinished(self, index: int) -> None:
        """Delete what a killed worker left of a shard, and of the recipe beside shard 0; for the holder of its claim.

        Raises:
            StoreError: If it cannot be deleted.
        """
        with writing(self.path):
            for name in (self._shard(index).stem, *(["recipe"] if index == 0 else [])):
                for orphan in self.path.glob(f".{name}.*.tmp"):
                    orphan.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self, what: str = "", note: Callable[[str], None] = lambda _: None) -> Iterator[None]:
        """Lock the whole artifact for writing; a second process waits until the first finishes or dies.

        Args:
            what: What is done under the lock.
            note: Receives a sentence about whom this process waits for.

        An existing artifact in a read-only cache is not locked: complete shards can be read, and only writing fails.

        Raises:
            StoreError: If the cache cannot be written and does not have the artifact.
        """
        there = self.path.is_dir()
        with contextlib.ExitStack() as locked:
            with writing(self.path):
                self._lock(locked, what, note, there)
            yield

    def _lock(self, locked: contextlib.ExitStack, what: str, note: Callable[[str], None], there: bool) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            locked.enter_context(held(self.path / ".lock", what or str(self.path), note))
            for orphan in self.path.glob(".*.tmp"):
                orphan.unlink(missing_ok=True)
        except OSError as error:
            if not there or error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise

    def has(self, index: int) -> bool:
        """Tell whether a shard exists and equals the written shard byte for byte."""
        try:
            info, path = self.info(index), self._shard(index)
            stamp = _stamp(path)
            equal = bool(info["sha256"] == sha256(path))
        except (CorruptArtifactError, OSError):
            return False
        if equal:
            self._verified[index] = stamp  # `read` need not hash it again
        return equal

    def seems_there(self, index: int) -> bool:
        """Tell whether a shard was finished, without reading it: `has` is sure."""
        return self._sidecar(index).is_file() and self._shard(index).is_file()

    def info(self, index: int) -> dict[str, Any]:
        """Read a shard's sidecar: `sha256` and the `info` given to `write`.

        Raises:
            CorruptArtifactError: If the sidecar is missing or differs from the written sidecar.
        """
        path = self._sidecar(index)
        if (info := read_kept(path, dict[str, Any])) is None or "sha256" not in info:
            raise self._corrupt(path)
        return info

    def write(self, index: int, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
        """Write a shard and then its sidecar.

        Raises:
            StoreError: If the disk is full or read-only.
        """
        data = pieces({name: tensor.contiguous() for name, tensor in tensors.items()})
        digest = hashlib.sha256()
        for piece in data:
            digest.update(piece)
        write_pieces(self._shard(index), data)
        write_kept(self._sidecar(index), {**info, "sha256": digest.hexdigest()})

    def read(self, index: int) -> dict[str, Tensor]:
        """Map a shard into memory; its hash is checked once by this object, here or in `has`, and after every change.

        Raises:
            CorruptArtifactError: If the shard is missing or differs from the written shard.
        """
        from safetensors.torch import load_file

        path = self._shard(index)
        try:
            if self._verified.get(index) != _stamp(path) and not self.has(index):
                raise self._corrupt(path)
            return dict(load_file(path))
        except OSError as error:
            raise self._corrupt(path) from error

    def length(self, index: int, name: str) -> int:
        """Return the number of rows of a shard's tensor, from the file's header.

        Raises:
            CorruptArtifactError: If the shard is missing, or has no such tensor.
        """
        from safetensors import SafetensorError, safe_open

        path = self._shard(index)
        try:
            with safe_open(path, "numpy") as file:
                return int(file.get_slice(name).get_shape()[0])
        except (OSError, SafetensorError) as error:
            raise self._corrupt(path) from error

    def describe(self) -> None:
        """Write the recipe into the artifact's folder, for people who look there, unless it is there already.

        Raises:
            StoreError: If the store cannot be written.
        """
        path, text = self.path / "recipe.json", json.dumps(self.recipe, indent=2, sort_keys=True).encode()
        if not path.is_file() or path.read_bytes() != text:
            write_bytes(path, text)

    def _shard(self, index: int) -> Path:
        return self.path / f"shard-{index:05d}.safetensors"

    def _sidecar(self, index: int) -> Path:
        return self.path / f"shard-{index:05d}.json"

    def _corrupt(self, path: Path) -> CorruptArtifactError:
        return CorruptArtifactError(
            f"{path} differs from the file that was written.",
            cause="The file was changed, truncated, renamed or deleted, or the disk is failing.",
            remedy="Run the same command again: the shard is recomputed, everything else is kept.",
        )


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def canonical_json(value: Any) -> str:
    """Serialise to canonical JSON: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
