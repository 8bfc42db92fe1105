"""Artifacts survive what happens to disks and processes, or say that they did not."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from bridge.errors import CorruptArtifactError, StoreError
from bridge.files import write_bytes
from bridge.files.safetensors import pieces
from bridge.store import Artifact, Store, sha256
from toy_collection import fill_up

TENSORS = {
    "rows": torch.arange(48, dtype=torch.bfloat16).reshape(8, 6),
    "norms": torch.linspace(0, 1, 8),
    "lengths": torch.tensor([3, 5]),
}


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    artifact = Store(tmp_path / "cache").artifact("activations", {"model": "m", "site": "3"})
    for index in (0, 1):
        artifact.write(index, {**TENSORS, "index": torch.tensor([index])}, {"budget": 4096 + index})
    return artifact


def again(artifact: Artifact) -> Artifact:
    """The same artifact as another process sees it."""
    return Artifact(artifact.path, artifact.recipe)


def shard(artifact: Artifact, index: int = 0) -> Path:
    return artifact.path / f"shard-{index:05d}.safetensors"


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_what_was_written_is_read_bit_for_bit(artifact: Artifact) -> None:
    for index in (0, 1):
        assert artifact.has(index)
        read = again(artifact).read(index)
        assert set(read) == {*TENSORS, "index"}
        for name, tensor in TENSORS.items():
            assert read[name].dtype == tensor.dtype
            assert torch.equal(read[name], tensor)
        assert int(read["index"]) == index
        assert artifact.info(index)["budget"] == 4096 + index
    assert not artifact.has(2)
    with pytest.raises(CorruptArtifactError):
        artifact.read(2)


def test_a_shard_is_what_the_library_of_its_format_would_write() -> None:
    dtypes = (torch.float64, torch.bfloat16, torch.bool, torch.int32, torch.float32, torch.uint8, torch.float16)
    tensors = {f"{dtype}": torch.arange(6).reshape(2, 3).to(dtype) for dtype in dtypes}
    tensors |= {**TENSORS, "no rows": torch.zeros(0, 4), "a number": torch.tensor(3.5), 'ä "name"': torch.ones(1)}
    assert b"".join(pieces(tensors)) == save(tensors)


def test_equal_recipes_share_a_folder_and_others_do_not(tmp_path: Path) -> None:
    store = Store(tmp_path)
    paths = [
        store.artifact("activations", {"a": 1, "b": [2]}).path,
        store.artifact("activations", {"b": [2], "a": 1}).path,
        store.artifact("activations", {"a": 1, "b": [3]}).path,
        store.artifact("moments", {"a": 1, "b": [2]}).path,
    ]
    assert paths[0] == paths[1]
    assert len(set(paths)) == 3


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))


def swap_shards(artifact: Artifact) -> None:
    first, second = shard(artifact, 0).read_bytes(), shard(artifact, 1).read_bytes()
    shard(artifact, 0).write_bytes(second)
    shard(artifact, 1).write_bytes(first)


def edit_sidecar(artifact: Artifact) -> None:
    path = shard(artifact).with_suffix(".json")
    path.write_text(path.read_text().replace('"budget": 4096', '"budget": 9999'))


DAMAGES: dict[str, Callable[[Artifact], object]] = {
    "first byte": lambda a: flip(shard(a), 0),
    "last byte": lambda a: flip(shard(a), -1),
    "truncated": lambda a: os.truncate(shard(a), shard(a).stat().st_size - 1),
    "emptied": lambda a: os.truncate(shard(a), 0),
    "appended to": lambda a: shard(a).write_bytes(shard(a).read_bytes() + b"x"),
    "swapped": swap_shards,
    "renamed": lambda a: shard(a).rename(shard(a, 7)),
    "deleted": lambda a: shard(a).unlink(),
    "no sidecar": lambda a: shard(a).with_suffix(".json").unlink(),
    "sidecar cut": lambda a: os.truncate(shard(a).with_suffix(".json"), 5),
    "sidecar binary": lambda a: shard(a).with_suffix(".json").write_bytes(b"\xff\xfe"),
    "sidecar edited": edit_sidecar,
    "sidecar of another shard": lambda a: shutil.copy(shard(a, 1).with_suffix(".json"), shard(a).with_suffix(".json")),
    "sidecar of another form": lambda a: shard(a).with_suffix(".json").write_text("[]"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damage_is_noticed_and_writing_again_mends_it(artifact: Artifact, damage: Callable[[Artifact], object]) -> None:
    artifact.read(0)
    damage(artifact)
    assert not artifact.has(0)
    with pytest.raises(CorruptArtifactError, match=r"shard-00000.*Run the same command again"):
        again(artifact).read(0)
    # Who has checked the rows once may go on reading them while they are what they were.
    with contextlib.suppress(CorruptArtifactError):
        assert torch.equal(artifact.read(0)["rows"], TENSORS["rows"])
        assert shard(artifact).exists()
    artifact.write(0, TENSORS, {})
    assert torch.equal(artifact.read(0)["rows"], TENSORS["rows"])


def test_a_shard_without_its_sidecar_was_never_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between the two files leaves nothing that counts."""
    artifact = Store(tmp_path).artifact("activations", {})
    replace = Path.replace

    def die_before_sidecar(self: Path, target: Path) -> Path:
        if target.suffix == ".json":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", die_before_sidecar)
    with pytest.raises(KeyboardInterrupt):
        artifact.write(0, TENSORS, {})
    assert shard(artifact).exists()
    assert not artifact.has(0)
    assert files(artifact.path) == {shard(artifact).name}


def test_a_path_under_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    artifact = Store(tmp_path / "file" / "cache").artifact("activations", {})
    with pytest.raises(StoreError, match=r"could not be written.*Part of that path is a file.*BRIDGE_CACHE_DIR"):
        artifact.write(0, TENSORS, {})
    with pytest.raises(StoreError, match="Part of that path is a file"), artifact.lock():
        pass
    with pytest.raises(StoreError, match="Part of that path is a file"):
        artifact.claim(0).take()


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (errno.ENOSPC, "The disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no write permission"),
        (errno.EIO, "Input/output error"),
    ],
)
@pytest.mark.parametrize("step", ["write", "replace", "fsync"])
def test_a_refused_write_names_its_cause_and_leaves_what_was_there(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, code: int, cause: str, step: str
) -> None:
    before = {path.name: path.read_bytes() for path in artifact.path.iterdir()}

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if step == "write":
            fill_up(0, patch.setattr, code)
        else:
            patch.setattr(os if step == "fsync" else Path, step, refuse)
        for index in (0, 2):
            with pytest.raises(StoreError, match=cause):
                artifact.write(index, {"rows": torch.ones(3)}, {})
        with pytest.raises(StoreError, match=r"new.txt could not be written.*same command continues from there"):
            write_bytes(artifact.path / "new.txt", b"text")
    assert {path.name: path.read_bytes() for path in artifact.path.iterdir()} == before
    assert artifact.has(0)


HOLDER = """
import sys, time
from pathlib import Path
from bridge.store import Artifact
with Artifact(Path(sys.argv[1]), {}).lock():
    print("held", flush=True)
    sys.stdin.read()
    Path(sys.argv[1], "done").touch()
"""


def hold(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_waits_for_the_lock(artifact: Artifact) -> None:
    first = hold(artifact.path)
    second = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(artifact.path)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(1.5)
        assert not (artifact.path / "done").exists()
        first.communicate("")
        output, _ = second.communicate(timeout=30)
        assert (first.returncode, second.returncode, output) == (0, 0, "held\n")
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


def test_the_lock_and_the_litter_of_a_killed_process_go(artifact: Artifact) -> None:
    before = files(artifact.path)
    holder = hold(artifact.path)
    litter = artifact.path / f".shard-00002.safetensors.{holder.pid}.tmp"
    litter.write_bytes(b"half a shard")
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with artifact.lock():
        assert not litter.exists()
        assert files(artifact.path) - {".lock", ".lock.holder"} == before
    assert all(again(artifact).has(index) for index in (0, 1))


def test_a_hash_is_remembered_until_something_touches_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, file, hashed = Store(tmp_path / "cache"), tmp_path / "weights", []

    def hashing(path: Path) -> str:
        hashed.append(path)
        return sha256(path)

    def write(path: Path, content: bytes) -> None:
        path.write_bytes(content)
        os.utime(path, ns=(10**18, 10**18))  # as rsync and tar set times back

    monkeypatch.setattr("bridge.store.sha256", hashing)
    write(file, b"abc")
    changed, now = file.stat().st_ctime_ns, time.time_ns
    monkeypatch.setattr("bridge.store.time.time_ns", lambda: changed + 10**9)
    assert [store.hash_of(file) for _ in range(2)] == [sha256(file)] * 2
    assert len(hashed) == 2, "it changed a moment ago: a second write could bear the same times"
    monkeypatch.setattr("bridge.store.time.time_ns", lambda: now() + 10**10)
    assert [store.hash_of(file) for _ in range(3)] == [sha256(file)] * 3
    assert len(hashed) == 3
    time.sleep(0.05)  # longer than a tick of the file system's clock
    write(file, b"xyz")
    assert store.hash_of(file) == sha256(file), "same size and time, written in place"
    time.sleep(0.05)
    write(tmp_path / "other", b"uvw")
    (tmp_path / "other").replace(file)
    assert store.hash_of(file) == sha256(file), "same size and time, put in its place"


def test_a_complete_cache_that_may_only_be_read_is_read(artifact: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    with artifact.lock():
        artifact.write(0, {"rows": torch.ones(2, 3)}, {})

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    with artifact.lock():
        assert artifact.has(0)
        assert torch.equal(artifact.read(0)["rows"], torch.ones(2, 3))
    absent = Store(artifact.path.parent.parent).artifact("kind", {"other": 1})
    with pytest.raises(StoreError, match="read-only"), absent.lock():
        pass
