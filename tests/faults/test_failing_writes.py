"""Every place that writes fails once: the command says so, or can do without, and the same command goes on."""

from __future__ import annotations

import errno
import itertools
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from child_commands import Child, contents, done
from failing_writes import FailingWrites
from short_commands import COMMANDS

NUMBERS = [errno.ENOSPC, errno.EIO, errno.EACCES]


def places(name: str, folder: Path) -> list[str]:
    """Run a command to its end; gives the places that write below its folder, `out` and the cache among it."""
    here, seen = folder / "whole", folder / "places"
    here.mkdir()
    child = Child(COMMANDS[name], here / "cache", folder / "said", here, FailingWrites(str(here), str(seen)))
    assert child.end() == 0, child.output()
    return list(json.loads(seen.read_text()))


def fault(name: str, place: str, number: int, here: Path, expected: dict[str, bytes]) -> str:
    """Let one write fail, and repeat the command; gives what is wrong, empty if nothing is."""
    here.mkdir()
    seen, said = here.with_suffix(".places"), here.with_suffix(".said")
    child = Child(COMMANDS[name], here / "cache", said, here, FailingWrites(str(here), str(seen), place, number))
    code, told = child.end(), child.output()
    if place not in json.loads(seen.read_text()):
        return "it was not reached"
    if code == 0 and contents(here / "out") != expected:
        return "other files, and no error"
    if code not in (0, 1) or "Traceback" in told or "bug in bridge" in told:
        return f"exit code {code}: {told}"
    if code == 1 and not ("could not be written" in told or "cannot be written" in told):
        return f"the failed write is not named: {told}"
    done(COMMANDS[name], here / "cache", said, here)
    return "" if contents(here / "out") == expected else "other files after the second run"


def faults(name: str, cases: Iterator[tuple[str, int]], folder: Path, expected: dict[str, bytes]) -> None:
    wrong = {}
    for case, (place, number) in enumerate(cases):
        if found := fault(name, place, number, folder / str(case), expected):
            wrong[f"{errno.errorcode[number]} at {place}"] = found
    logging.getLogger(__name__).info("%s: %d failed writes, %d wrong", name, case + 1, len(wrong))
    assert not wrong, json.dumps(wrong, indent=1)


def test_some_writes_of_a_fit_fail(tmp_path: Path) -> None:
    found = places("fit", tmp_path)
    some = [next(place for place in found if place.startswith(kind)) for kind in ("os.mkdir", "write", "os.rename")]
    faults("fit", zip(some, NUMBERS, strict=True), tmp_path, contents(tmp_path / "whole" / "out"))


@pytest.fixture(scope="module")
def failed() -> set[str]:
    """The places that have failed in the commands before."""
    return set()


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
def test_every_write_fails_once(name: str, failed: set[str], tmp_path: Path) -> None:
    """With the three errors in turn."""
    new = [place for place in places(name, tmp_path) if place not in failed]
    failed.update(new)
    faults(name, zip(new, itertools.cycle(NUMBERS), strict=False), tmp_path, contents(tmp_path / "whole" / "out"))
