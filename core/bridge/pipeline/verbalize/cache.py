"""Verbalizers with checked and cached explanations."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import CorruptArtifactError
from bridge.files import unless_read_only
from bridge.files.sealed import read_kept, write_kept
from bridge.pipeline.plan.provenance import versions
from bridge.plugins.checks import check_explanations, check_notes, fault_of_rows
from bridge.progress import Progress
from bridge.store import Artifact
from bridge.verbalizers import Blends, Explanation, Verbalizer

Floats = NDArray[np.float32]


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
        self._earlier: list[str] = []

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
        import torch

        shape = len(texts), self.d_model
        artifact = Artifact(self._folder / _key(f"reconstructions {self.identity}", [np.array(texts)]), {})
        kept = _rows_of(artifact, shape) if self.identity else None
        if kept is None:
            kept = self._verbalizer.reconstruct(texts)
            if self.identity and not fault_of_rows(kept, shape):
                kept = np.array(kept, np.float32)
                with unless_read_only():
                    artifact.discard_unfinished(0)
                    artifact.write(0, {"rows": torch.from_numpy(kept)}, {})
        return kept

    def notes(self) -> list[str]:
        """Return the plugin's notes, with those of the earlier run that the cached explanations are from.

        Raises:
            PluginError: If the plugin does not return a list of texts.
        """
        found = self._verbalizer.notes()
        check_notes(found, self._named)
        return list(dict.fromkeys([*map(_unicode, found), *self._earlier]))

    def _cached(
        self, ask: Callable[[], list[Explanation]], *given: NDArray[Any], count: int | None = None
    ) -> list[Explanation]:
        path = self._folder / f"{_key(self.identity, given)}.json"
        count = len(given[0]) if count is None else count
        kept = read_kept(path, _Kept) if self.identity else None
        if kept is not None and len(kept.explanations) == count:
            self._earlier = list(dict.fromkeys([*self._earlier, *kept.notes]))
            return kept.explanations
        explanations = ask()
        check_explanations(explanations, count, self._named)
        explanations = [Explanation(_unicode(one.text), tuple(map(_unicode, one.flags))) for one in explanations]
        if self.identity:
            with unless_read_only():
                write_kept(path, asdict(_Kept(explanations, self.notes())))
        return explanations


@final
@dataclass(frozen=True)
class _Kept:
    """The explanations of one call, with the verbalizer's notes after it."""

    explanations: list[Explanation]
    notes: list[str]


def _unicode(text: str) -> str:
    """Replace lone surrogates, which are no characters and cannot be written to a file, by U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _key(identity: str, arrays: Sequence[NDArray[Any]]) -> str:
    hashed = hashlib.sha256(f"{versions()} {identity}".encode())
    for array in arrays:
        hashed.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return hashed.hexdigest()[:32]


def _rows_of(artifact: Artifact, shape: tuple[int, int]) -> Floats | None:
    try:
        rows: Floats = artifact.read(0)["rows"].numpy()
    except (CorruptArtifactError, KeyError):  # a damaged entry is computed again
        return None
    return None if fault_of_rows(rows, shape) else rows
