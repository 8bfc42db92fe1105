"""Reads spoilt files in a process with little memory and little time, and tells what became of each."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

SECONDS = 20
"""Time of the processor; a case that waits is stopped after three times as much."""

MEMORY = 2 * 10**9
SPARE = 6 * 10**9
"""Address space beyond that of a process that has imported everything: libraries reserve more than they use."""


@final
@dataclass(frozen=True)
class Outcome:
    """What became of one case.

    Attributes:
        case: Number of the case, the seed of its changes.
        subject: The reader.
        how: The change.
        kind: `accepted`, `refused`, the name of an unexpected error, `executed`, `large`, `slow` or `died`.
        said: The end of the traceback of an unexpected error.
        seconds: Time of the processor.
        memory: Bytes by which the process grew at its largest.
    """

    case: int
    subject: str
    how: str
    kind: str
    said: str = ""
    seconds: float = 0.0
    memory: int = 0


def campaign(cases: Sequence[int], folder: Path, slow: bool) -> list[Outcome]:
    """Read the files of some cases in one process after another: what ends a process costs one case.

    Args:
        cases: Numbers of the cases.
        folder: For files.
        slow: Whether to include readers that load whole models.
    """
    folder.mkdir(parents=True)
    waiting, found = list(cases), []
    while waiting:
        command = [sys.executable, __file__, str(folder), str(int(slow)), *map(str, waiting)]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "BRIDGE_CACHE_DIR": str(folder)}
        errors = (folder / "errors").open("wb")
        with (
            errors,
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, env=environment, text=True) as child,
        ):
            assert child.stdout is not None
            for line in child.stdout:
                if line.startswith("{"):
                    found.append(Outcome(**json.loads(line)))
                    waiting.remove(found[-1].case)
        if waiting:
            said = (folder / "errors").read_text(errors="replace")[-1500:]
            assert child.returncode and (folder / "doing").exists(), said
            subject, how = (folder / "doing").read_text().split("\n")
            found.append(Outcome(waiting.pop(0), subject, how, f"died ({child.returncode})", said))
    return found


def _read(folder: Path, slow: bool, cases: Sequence[int]) -> Iterator[Outcome]:
    import readers_of_files
    from hostile_files import spoil

    everything = readers_of_files.subjects(slow)
    for name, subject in everything.items():
        if not (folder / name).exists():
            (folder / name).mkdir()
            subject.write(folder / name)
        shutil.copytree(folder / name, folder / "try", dirs_exist_ok=True)
        subject.read(folder / "try")  # whole files are read; imports are done
        shutil.rmtree(folder / "try")
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + SPARE, size + SPARE))
    names, weights = list(everything), [subject.weight for subject in everything.values()]
    for case in cases:
        rng = random.Random(case)
        name = rng.choices(names, weights)[0]
        yield _one(case, name, everything[name], folder, rng, spoil)


def _one(case: int, name: str, subject: Any, folder: Path, rng: random.Random, spoil: Any) -> Outcome:
    from bridge.errors import BridgeError

    here, canary = folder / "case", folder / "canary"
    shutil.rmtree(here, ignore_errors=True)
    shutil.copytree(folder / name, here)
    files = sorted(file for file in here.glob(subject.files) if file.is_file())
    how = " ".join(spoil(file, rng, canary) for file in rng.sample(files, min(len(files), rng.choice([1, 1, 1, 2]))))
    (folder / "doing").write_text(f"{name}\n{how}")
    Path("/proc/self/clear_refs").write_text("5")  # begins to measure the largest size anew
    before, start, kind, said = _memory("VmRSS"), time.process_time(), "accepted", ""
    faulthandler.dump_traceback_later(6 * SECONDS, exit=True)
    signal.signal(signal.SIGALRM, _too_slow)
    signal.alarm(3 * SECONDS)
    try:
        subject.read(here)
    except BridgeError as error:
        kind = "refused" if str(error).strip() else "refused without a word"
    except BaseException as error:
        import traceback

        kind, said = f"unexpected {type(error).__name__}", "".join(traceback.format_exception(error))[-1500:]
    signal.alarm(0)
    faulthandler.cancel_dump_traceback_later()
    seconds, memory = time.process_time() - start, _memory("VmHWM") - before
    if canary.exists():
        kind = "executed"
        canary.unlink()
    elif memory > MEMORY or seconds > SECONDS:
        kind = "large" if memory > MEMORY else "slow"
    return Outcome(case, name, how, kind, said, round(seconds, 3), memory)


def _too_slow(*_: object) -> None:
    raise KeyboardInterrupt("slow")


def _memory(what: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1]) * 1024


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for outcome in _read(Path(sys.argv[1]), bool(int(sys.argv[2])), list(map(int, sys.argv[3:]))):
        print(json.dumps(asdict(outcome)), flush=True)  # noqa: T201
