"""Whoever waits for a lock says for whom, soon and rarely; what stands beside the lock is text of unknown origin."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bridge import waiting
from bridge.waiting import held

HOLDER = """
import sys
from pathlib import Path
from bridge.waiting import held
with held(Path(sys.argv[1]), "hold", print):
    print("held", flush=True)
    sys.stdin.read()
"""


def said_while_waiting(lock: Path, beside: bytes | None = None) -> tuple[list[str], int]:
    """Wait for a process that holds a lock, and return what was said, and the number of that process."""
    said: list[str] = []

    def wait() -> None:
        with held(lock, "unpack x", said.append):
            pass

    command = [sys.executable, "-c", HOLDER, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        if beside is not None:
            lock.with_name(f"{lock.name}.holder").write_bytes(beside)
        thread = threading.Thread(target=wait)
        thread.start()
        end = time.monotonic() + 20
        while not said and time.monotonic() < end:
            time.sleep(0.02)
        time.sleep(0.3)
        process.communicate("")
        thread.join(20)
    assert not thread.is_alive()
    return said, process.pid


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "SOON_SECONDS", 0.1)


def test_it_says_once_who_holds_the_lock_and_since_when(tmp_path: Path) -> None:
    said, pid = said_while_waiting(tmp_path / ".lock")
    (sentence,) = said
    today = time.strftime("%Y-%m-%d")
    assert sentence.startswith(f"unpack x: waiting for process {pid} on {platform.node()} since {today} ")
    assert "dead" not in sentence and not (tmp_path / ".lock.holder").exists()


def test_a_dead_holder_is_named_as_dead(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        pass
    said, _ = said_while_waiting(tmp_path / ".lock", f"{gone.pid} 0 {platform.node()}".encode())
    assert f"process {gone.pid} on " in said[0] and "which is dead" in said[0]


@pytest.mark.parametrize("beside", [b"", b"x y z", b"1", b"9" * 10**6, b"1 " + b"9" * 90 + b" host", b"\xff\xfe 1 2"])
def test_a_damaged_or_hostile_name(beside: bytes, tmp_path: Path) -> None:
    said, _ = said_while_waiting(tmp_path / ".lock", beside)
    assert said == ["unpack x: waiting for another process, which left no name."]


def test_nobody_waits_for_a_free_lock(tmp_path: Path) -> None:
    with held(tmp_path / ".lock", "x", pytest.fail):
        assert (tmp_path / ".lock.holder").read_text().startswith(f"{os.getpid()} ")
