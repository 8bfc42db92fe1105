"""What is kept is read again as it was written, or not at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bridge.directions import read_arrays, write_record
from bridge.errors import BridgeError
from bridge.files.sealed import read_kept, write_kept
from bridge.pipeline.verbalize.cache import CachedVerbalizer
from bridge.progress import Silent
from bridge.verbalizers import Explanation, Verbalizer
from bridge_verbalizers.jacobian_lens.lens_file import LensRecord, read_record, write_lens
from bridge_verbalizers.serving.journal import Journal
from bridge_verbalizers.training.adapters import train
from sealed_files import sealed


def damaged(path: Path, every: int = 1) -> Iterator[str]:
    """Damage a file at each place in turn: a byte is flipped, or the file ends there."""
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in range(0, len(whole), every):
        flipped = bytearray(whole)
        flipped[place] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        yield f"byte {place} is {flipped[place : place + 1]!r}"
        path.write_bytes(whole[:place])
        yield f"cut at {place}"
    path.write_bytes(whole)


def test_kept_values(tmp_path: Path) -> None:
    path, value = tmp_path / "notes" / "one.json", ["a", "ä ☃", "\x00"]
    write_kept(path, value)
    for what in damaged(path):
        assert read_kept(path, list[str]) is None, what
    assert read_kept(path, list[str]) == value
    for kind in (str, list[int], dict[str, str]):
        assert read_kept(path, kind) is None
    for other in (path.with_name("two.json"), tmp_path / "others" / "one.json"):
        other.parent.mkdir(exist_ok=True)
        shutil.copy(path, other)
        assert read_kept(other, list[str]) is None, "it was written to another place"
    for text in ("[" * 100_000, '["a"]', '{"place": "notes/one.json", "kept": ["a"]}', "null"):
        path.write_text(text)
        assert read_kept(path, list[str]) is None
    path.write_text(sealed('{"place": "notes/one.json", "kept": ' + "[" * 100_000))
    assert read_kept(path, list[str]) is None
    assert read_kept(tmp_path, list[str]) is None


def test_arrays_with_a_record(tmp_path: Path) -> None:
    path = tmp_path / "moved.safetensors"
    write_record(path, {"v": np.arange(6, dtype=np.float32).reshape(2, 3)}, {"src": "a@1", "notes": ['"', "ä"]})
    for what in damaged(path):
        with pytest.raises(BridgeError, match=r"moved\.safetensors"):
            read_arrays(path)
            raise AssertionError(what)
    np.testing.assert_array_equal(read_arrays(path)["v"], [[0, 1, 2], [3, 4, 5]])


def test_lenses(tmp_path: Path) -> None:
    path = tmp_path / "lens.safetensors"
    record = LensRecord("tiny", "w", 2, 3, (1,), 0, 8, "float32", "texts", ("p",), 4)
    write_lens(path, {1: np.eye(2)}, record)
    for what in damaged(path):
        with pytest.raises(BridgeError, match="is no Jacobian lens"):
            read_record(path)
            raise AssertionError(what)
    assert read_record(path) == record


def test_checkpoints_of_trainings(tmp_path: Path) -> None:
    path = tmp_path / ".training.safetensors"

    def trained() -> tuple[list[float], torch.Tensor]:
        weight = torch.nn.Parameter(torch.ones(2))
        losses = train({"w": weight}, lambda step: (weight**2).sum(), 3, 0.1, path, {"seed": 0}, Silent(), "train")
        return losses, weight.detach()

    losses, weight = trained()
    for what in damaged(path, every=3):
        with pytest.raises(BridgeError, match="cannot be resumed"):
            trained()
            raise AssertionError(what)
    again, same = trained()
    assert again == losses and torch.equal(same, weight)


def test_answers_of_servers(tmp_path: Path) -> None:
    path, texts = tmp_path / "journal.jsonl", {"a": "one\nline", "b": "\ud800 ☃"}
    with Journal(path).writing() as keep:
        for key, text in texts.items():
            keep(key, text)
    for what in damaged(path):
        assert Journal(path).answers.items() <= texts.items(), what
    assert Journal(path).answers == texts
    assert Journal(path.rename(tmp_path / "other.jsonl")).answers == {}, "of another checkpoint"


class Counting(Verbalizer):
    """Explains a vector by its first number, and counts its calls."""

    d_model, reconstructs, identity, at_once = 2, True, "counting", 0

    def __init__(self) -> None:
        self.calls = 0

    def explain(self, vectors: np.ndarray) -> list[Explanation]:
        self.calls += 1
        return [Explanation(f"text {row[0]:g}", ("empty",)) for row in vectors]

    def reconstruct(self, texts: list[str]) -> np.ndarray:
        self.calls += 1
        return np.array([[len(text), 0.1] for text in texts])

    def notes(self) -> list[str]:
        return ["it counts"] if self.calls else []


EDITS: dict[str, Callable[[Path], object]] = {
    "a prefix before every text": lambda p: p.write_text(p.read_text().replace("text ", "EDITED text ")),
    "a list": lambda p: p.write_text("[]"),
    "numbers": lambda p: p.write_text(json.dumps([{"text": 1, "flags": []}] * 2)),
    "deep JSON": lambda p: p.write_text("[" * 100_000),
    "one with its hash": lambda p: write_kept(p, {"explanations": [{"text": "x", "flags": []}], "notes": []}),
    "numbers with their hash": lambda p: write_kept(p, {"explanations": [{"text": 1}, {"text": 2}], "notes": []}),
    "no notes": lambda p: p.write_text(p.read_text().replace("it counts", "")),
    "none": lambda p: p.unlink(),
}


@pytest.mark.parametrize("edit", EDITS)
def test_explanations(edit: str, tmp_path: Path) -> None:
    vectors = np.array([[1, 0], [2, 0]], np.float32)
    first = CachedVerbalizer(Counting(), "counting", tmp_path)
    texts = first.explain(vectors)
    (path,) = tmp_path.glob("*.json")
    whole = path.read_bytes()
    EDITS[edit](path)
    counting = Counting()
    again = CachedVerbalizer(counting, "counting", tmp_path)
    assert (again.explain(vectors), again.notes(), counting.calls) == (texts, ["it counts"], 1)
    assert path.read_bytes() == whole
    cached = CachedVerbalizer(Counting(), "counting", tmp_path)
    assert (cached.explain(vectors), cached.notes()) == (texts, ["it counts"])
    # A file under the name of another call.
    other = cached.explain(2 * vectors)
    (new,) = set(tmp_path.glob("*.json")) - {path}
    shutil.copy(path, new)
    assert CachedVerbalizer(Counting(), "counting", tmp_path).explain(2 * vectors) == other


def test_reconstructions(tmp_path: Path) -> None:
    fresh = CachedVerbalizer(Counting(), "counting", tmp_path).reconstruct(["a", "bcd"])
    assert fresh.dtype == np.float32, "as when it is read again"
    (path,) = tmp_path.glob("*/*.safetensors")
    counting = Counting()
    np.testing.assert_array_equal(CachedVerbalizer(counting, "counting", tmp_path).reconstruct(["a", "bcd"]), fresh)
    assert counting.calls == 0
    for what in damaged(path, every=7):
        again = CachedVerbalizer(Counting(), "counting", tmp_path)
        np.testing.assert_array_equal(again.reconstruct(["a", "bcd"]), fresh, what)
