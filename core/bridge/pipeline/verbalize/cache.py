"""Verbalizers with checked and cached explanations."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from bridge.directions import read_arrays, write_arrays
from bridge.errors import BridgeError
from bridge.files import write_bytes
from bridge.pipeline.plan.provenance import versions
from bridge.plugins.checks import check_explanations, check_notes, fault_of_rows
from bridge.progress import Progress
from bridge.verbalizers import Blends, Explanation, Verbalizer

Floats = NDArray[np.float32]
Kind = TypeVar("Kind")


def tell_notes(verbalizer: Verbalizer, named: str, progress: Progress) -> list[str]:
    """Show a verbalizer's notes to the user.

    Args:
        verbalizer: The verbalizer, after its last explanation.
        named: Its name.
        progress: Receives the notes.

    Returns:
        The notes, each with the name, for the provenance.
    """
    notes = [f"The verbalizer {named}: {note}" for note in verbalizer.notes()]
    for note in notes:
        progress.note(note)
    return notes


def parts(count: int, at_once: int, sequences: int = 1) -> list[slice]:
    """Cut vectors into the parts that a verbalizer explains in one call; each part is cached when finished.

    Args:
        count: Number of vectors.
        at_once: Batch size, as `Verbalizer.at_once`.
        sequences: Number of sequences per vector.
    """
    size = max(1, at_once // sequences) if at_once else max(1, count)
    return [slice(start, start + size) for start in range(0, count, size)]


@final
class CachedVerbalizer(Verbalizer):
    """A plugin's verbalizer with checked explanations, which are cached if the verbalizer has an `identity`.

    Args:
        verbalizer: The plugin's verbalizer.
        named: Name of the verbalizer in errors.
        folder: Cache folder, with a file for each call.
    """

    def __init__(self, verbalizer: Verbalizer, named: str, folder: Path) -> None:
        self.d_model, self.reconstructs = verbalizer.d_model, verbalizer.reconstructs
        self.identity, self.at_once = str(verbalizer.identity), verbalizer.at_once
        self._verbalizer, self._named, self._folder = verbalizer, named, folder

    def explain(self, vectors: Floats) -> list[Explanation]:
        """Explain vectors of shape (n, d_model), float32.

        Raises:
            PluginError: If the plugin does not return one explanation per vector.
        """
        return self._cached(lambda: self._verbalizer.explain(vectors), vectors)

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Explain directions by their blends with backgrounds.

        Raises:
            PluginError: If the plugin does not return one explanation per direction.
        """
        parts = blends.vectors, blends.backgrounds, np.array(blends.beta)
        return self._cached(lambda: self._verbalizer.explain_blends(blends), *parts)

    def ask(self, groups: Sequence[Floats], question: str) -> list[Explanation]:
        """Answer a question of groups of vectors, (n_i, d_model) float32 each.

        Raises:
            PluginError: If what the plugin returns is not one explanation a group.
        """
        asked = np.array([question]), np.array([len(group) for group in groups])
        return self._cached(lambda: self._verbalizer.ask(groups, question), *asked, *groups, count=len(groups))

    def reconstruct(self, texts: Sequence[str]) -> Floats:
        """Return the activations that the plugin reconstructs from texts, (n, d_model) float32."""
        path = self._folder / f"{_key(f'reconstructions {self.identity}', [np.array(texts)])}.safetensors"
        kept = _read_rows(path, (len(texts), self.d_model)) if self.identity else None
        if kept is None:
            kept = self._verbalizer.reconstruct(texts)
            if self.identity and not fault_of_rows(kept, (len(texts), self.d_model)):
                write_arrays(path, {"rows": kept}, {})
        return kept

    def notes(self) -> list[str]:
        """Return the plugin's notes, with those of the earlier run that the cached explanations are from.

        Raises:
            PluginError: If the plugin does not return a list of texts.
        """
        found = self._verbalizer.notes()
        check_notes(found, self._named)
        found = list(map(_unicode, found))
        kept = _read(self._notes_file, list[str]) if self.identity else None
        return list(dict.fromkeys([*found, *(kept or [])]))

    @property
    def _notes_file(self) -> Path:
        return self._folder / f"{_key(f'notes {self.identity}', [])}.json"

    def _cached(
        self, ask: Callable[[], list[Explanation]], *given: NDArray[Any], count: int | None = None
    ) -> list[Explanation]:
        path = self._folder / f"{_key(self.identity, given)}.json"
        explanations = _read(path, list[Explanation]) if self.identity else None
        if explanations is None:
            explanations = ask()
            check_explanations(explanations, len(given[0]) if count is None else count, self._named)
            explanations = [Explanation(_unicode(one.text), tuple(map(_unicode, one.flags))) for one in explanations]
            if self.identity:
                # Written first: no cached explanation is then without its notes.
                if notes := self.notes():
                    write_bytes(self._notes_file, json.dumps(notes).encode("ascii"))
                write_bytes(path, json.dumps([asdict(one) for one in explanations]).encode("ascii"))
        return explanations


def _unicode(text: str) -> str:
    """Replace lone surrogates, which are no characters and cannot be written to a file, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _key(identity: str, arrays: Sequence[NDArray[Any]]) -> str:
    hashed = hashlib.sha256(f"{versions()} {identity}".encode())
    for array in arrays:
        hashed.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:32]


def _read_rows(path: Path, shape: tuple[int, int]) -> Floats | None:
    try:
        rows = read_arrays(path)["rows"]
    except (BridgeError, KeyError):
        return None
    return None if fault_of_rows(rows, shape) else rows.astype(np.float32, copy=False)


def _read(path: Path, kind: type[Kind]) -> Kind | None:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValueError):  # a damaged entry is computed again
        return None
