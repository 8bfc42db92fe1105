"""An interrupted command continues in its `--out`, and leaves the same files as one that was never interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bridge
from bridge.errors import StoreError
from bridge.files import need_free, write_new_folder
from bridge.files.temporaries import sweep_temporaries, temporary_file
from bridge.pipeline.fit.record import CONFIG, SWEEP_CONFIG
from bridge.pipeline.jobs import run as job
from bridge.pipeline.jobs import sweep as sweep_job
from bridge.report import heatmap
from bridge.report.html import write as page

TEMPORARY = f".metrics.json.{'0' * 32}.tmp"


class Killed(BaseException):
    """Nothing catches it, as nothing catches a signal."""


def dies_after(writes: int, below: Path, patch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let the writer die in place of the write after so many below a folder; gives how many were begun."""
    begun, really = 0, Path.replace

    def replace(self: Path, target: Path) -> Path:
        nonlocal begun
        if below in target.parents:
            begun += 1
            if begun > writes:
                raise Killed
        return really(self, target)

    patch.setattr(Path, "replace", replace)
    return lambda: begun


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def once(function: Callable[..., Any], results: list[Any]) -> Callable[..., Any]:
    """Compute once: only the writing is interrupted, and the same inputs give the same results."""

    def remembered(*args: Any, **options: Any) -> Any:
        if not results:
            results.append(function(*args, **options))
        return results[0]

    return remembered


def interrupted(perform: Callable[[Path], object], folder: Path, config: str, step: int = 1) -> int:
    """Interrupt before every `step`-th write, in a new folder; resume; compare. Gives how many there are."""
    whole = folder / "whole"
    with pytest.MonkeyPatch.context() as patch:
        count = dies_after(10**9, whole, patch)
        perform(whole)
    for writes in range(1, count(), step):
        out = folder / f"out-{writes}"
        with pytest.MonkeyPatch.context() as patch:
            dies_after(writes, out, patch)
            with pytest.raises(Killed):
                perform(out)
        left = files(out)
        assert 0 < len(left) <= writes  # a run writes the bridge when it is fitted, and again with its scores
        assert config in left, "the first file says whose folder it is"
        (out / TEMPORARY).write_bytes(b"half")  # what `kill -9` leaves
        perform(out)
        assert files(out) == files(whole)
    return count()


def test_a_run_continues_after_its_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("prepare", "fit_plan", "score_fit", "available_dictionaries", "set_up_verbalizers", "load_judge"):
        monkeypatch.setattr(job, name, once(getattr(job, name), []))
    monkeypatch.setattr(page, "render", once(page.render, []))
    explained = {"dictionary": "own", "features": 4, "positions": 4, "encoder": "lsa"}

    def perform(out: Path) -> None:
        bridge.run("tiny-qwen", "tiny-gemma", max_documents=150, out=out, **explained)

    assert interrupted(perform, tmp_path, CONFIG, step=3) >= 8


def test_a_sweep_continues_after_every_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "render", once(page.render, []))
    for name in ("prepare", "gather", "_score_pair"):
        monkeypatch.setattr(sweep_job, name, once(getattr(sweep_job, name), []))
    monkeypatch.setattr(heatmap, "_picture", once(heatmap._picture, []))

    def perform(out: Path) -> None:
        bridge.sweep("dyck:seed0@1", "dyck:seed1@1", max_documents=150, map="procrustes", out=out)

    assert interrupted(perform, tmp_path, SWEEP_CONFIG) == 4


def test_only_what_dead_writers_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / TEMPORARY).write_bytes(b"half")
    mine = [tmp_path / ".notes.tmp", tmp_path / f"metrics.{'0' * 32}.tmp"]
    for path in mine:
        path.write_text("mine")
    with temporary_file(tmp_path / "result.json") as living:
        living.write_text("being written")
        need_free(tmp_path / "free.json")
        sweep_temporaries(tmp_path)
        sweep_temporaries(tmp_path / "missing")
        assert sorted(tmp_path.iterdir()) == sorted([living, *mine])
    assert sorted(tmp_path.iterdir()) == sorted(mine)


def test_a_folder_of_several_files_comes_whole_or_not_at_all(tmp_path: Path) -> None:
    def half(folder: Path) -> None:
        folder.mkdir()
        (folder / "cfg.json").write_text("{}")
        raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match="The disk is full"):
        write_new_folder(tmp_path / "sae", half)
    assert list(tmp_path.iterdir()) == []
    need_free(tmp_path / "sae")
    write_new_folder(tmp_path / "sae", Path.mkdir)
    assert [path.name for path in tmp_path.iterdir()] == ["sae"]
