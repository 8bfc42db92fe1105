"""`kill -9` at random moments: the same command in the same folder goes on, and leaves the same files."""

from __future__ import annotations

import itertools
import random
import time
from pathlib import Path

import pytest

from child_commands import Child, contents, done
from short_commands import COMMANDS

ROUNDS = 20
"""Kills of each command; those that come after its end are tried again."""


def killed_and_resumed(name: str, rounds: int, folder: Path) -> int:
    """Kill a command at random moments, resume it until it ends, and compare; gives how many kills there were."""
    command, draw, kills = COMMANDS[name], random.Random(name), 0
    whole = folder / "whole"
    whole.mkdir()
    seconds = done(command, whole / "cache", whole / "said", folder=whole)
    expected = contents(whole / "out")
    for attempt in itertools.count():
        if kills == rounds:
            break
        here = folder / str(attempt)
        here.mkdir()
        child = Child(command, here / "cache", here / "said", folder=here)
        time.sleep(draw.uniform(0, seconds))
        if not child.kill():  # it had ended
            continue
        kills += 1
        done(command, here / "cache", here / "said", folder=here)
        assert contents(here / "out") == expected, f"{name}, kill {kills}"
        assert not list((here / "out").rglob("*.tmp")), "what it had begun to write is gone"
    return kills


def test_a_fit_that_is_killed_once_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    assert killed_and_resumed("fit", 1, tmp_path) == 1


@pytest.mark.faults
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_moments(name: str, tmp_path: Path) -> None:
    assert killed_and_resumed(name, ROUNDS, tmp_path) == ROUNDS


@pytest.mark.faults
@pytest.mark.parametrize("round_", range(20))
def test_four_processes_two_of_them_killed(round_: int, tmp_path: Path) -> None:
    """One cache; two folders, each filled by two processes of the same command."""
    command, draw = COMMANDS["run"], random.Random(round_)
    cache, folders = tmp_path / "cache", [tmp_path / "a", tmp_path / "b"]
    alone = tmp_path / "alone"
    for folder in (*folders, alone):
        folder.mkdir()
    seconds = done(command, alone / "cache", alone / "said", folder=alone)
    children = [Child(command, cache, folders[i % 2] / f"said-{i}", folder=folders[i % 2]) for i in range(4)]
    for victim in draw.sample(children, 2):
        time.sleep(draw.uniform(0, seconds))
        victim.kill()
    for child in children:
        child.end()
    for folder in folders:
        done(command, cache, folder / "said", folder=folder)
        assert contents(folder / "out") == contents(alone / "out")
