"""Claims: the workers that fill one artifact keep off the shards that another worker is making.

A claim is a marker file beside the shard, created exclusively, that names its holder's process and machine. A thread
refreshes it while the holder lives, so it works for processes of one machine and for machines that share a folder,
whether or not the folder supports locks of the operating system.

A marker is stale, and taken over, at once if its process ran on this machine and is dead, and else after nobody
refreshed it for `STALE_SECONDS`, measured by the clock of the worker that waits. A worker that was only slow then
makes its shard a second time. That costs time and nothing else: shards are written whole, and equal inputs give equal
bits. A claim is therefore a hint that divides work, and protects no file.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import final

from bridge.files import writing

STALE_SECONDS = 120.0
"""Age of a marker without refresh at which its holder counts as dead. Holders refresh three times as often; a network
file system may show a refresh a minute late."""


@final
class Claim:
    """One worker's claim of a shard; `take` it, and `release` it when the shard is written or has failed.

    Keep the object between attempts: it measures how long another worker's marker was not refreshed. Any thread may
    release it.

    Args:
        marker: The marker file.
    """

    def __init__(self, marker: Path) -> None:
        from filelock import SoftFileLease

        self._marker = marker
        # Not of one thread: the thread that writes a shard's files gives its claim up.
        self._lease = SoftFileLease(marker, lease_duration=STALE_SECONDS, thread_local=False)
        self._seen = (0, 0)
        self._since = 0.0

    def take(self) -> bool:
        """Try to claim, without waiting, and tell whether this worker now holds the claim.

        Raises:
            StoreError: If the marker cannot be written.
        """
        with writing(self._marker):
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            if self._acquire():
                return True
            if self._is_stale():
                # The library replaces stale markers itself, but only where the file system can exchange two names;
                # NFS and SMB cannot.
                self._lease.force_break()
                return self._acquire()
            return False

    def release(self) -> None:
        """Give the claim up; another worker's marker, if it took over, stays.

        Raises:
            StoreError: If the marker cannot be deleted.
        """
        with writing(self._marker):
            self._lease.release()

    def holder(self) -> str:
        """Return the process and machine that hold the claim, as `process 7 on node3`."""
        owner = self._lease.owner
        # Within a container, the library appends the container's process namespace to the name after `?`.
        return f"process {owner.pid} on {owner.hostname.partition('?')[0]}" if owner else "another worker"

    def _acquire(self) -> bool:
        from filelock import LeaseSettingsMismatch, Timeout

        try:
            self._lease.acquire(blocking=False)
        # A time-out is an OSError, which `writing` would take for a failure. The mismatch is a marker of a version
        # of bridge with another STALE_SECONDS: it is waited for by our own.
        except (Timeout, LeaseSettingsMismatch):
            return False
        return True

    def _is_stale(self) -> bool:
        try:
            stat = self._marker.stat()
        except FileNotFoundError:
            return False
        now, state = time.monotonic(), (stat.st_mtime_ns, stat.st_ino)
        if state != self._seen:
            self._seen, self._since = state, now
        return now - self._since > STALE_SECONDS


def is_claimed(marker: Path) -> bool:
    """Tell whether a process that may be alive holds a claim, by the clock of this machine; nothing is changed.

    Args:
        marker: The marker file.
    """
    try:
        return time.time() - marker.stat().st_mtime <= STALE_SECONDS
    except FileNotFoundError:
        return False
