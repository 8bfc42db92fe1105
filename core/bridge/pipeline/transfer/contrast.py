"""Contrast sets: texts of two classes, whose mean difference gives a steering vector."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray

from bridge.corpus.documents import Document
from bridge.corpus.formats import json_lines
from bridge.corpus.lines import Lines, open_text
from bridge.directions import _finite, read_arrays
from bridge.errors import BridgeError, CorpusError

LEAST = 8
"""Minimal number of texts of each class: half give the vector, the others test it."""


@final
@dataclass(frozen=True)
class Contrast:
    """Texts of two classes.

    Attributes:
        name: Name of the file.
        classes: The two classes, in the order of the file; the vector points from the second to the first.
        documents: The texts.
        first: Whether each text is of the first class, (texts,) bool.
        tested: Whether each text tests the vector rather than contributing to it, (texts,) bool.
        remarks: Sentences about content of the file that was left out, with counts.
    """

    name: str
    classes: tuple[str, str]
    documents: tuple[Document, ...]
    first: NDArray[np.bool_]
    tested: NDArray[np.bool_]
    remarks: tuple[str, ...] = ()


def load_contrast(path: Path, seed: int) -> Contrast:
    """Read a JSON Lines file of records with `text` and `class`, and split it in half, class by class.

    Args:
        path: The file.
        seed: Seed of the split.

    Raises:
        CorpusError: If the file is unreadable, does not have two classes, has too few texts of a class, or has a text
            in both classes.
    """
    form = 'Give JSON Lines such as {"text": "What a day!", "class": "glad"}.'
    try:
        with open_text(path) as opened:
            pairs = [(record["text"], record["class"]) for record in json_lines(Lines(opened, str(path)))]
    except CorpusError as error:
        raise CorpusError(f"{path} is not a readable contrast set: {error.what}", remedy=form) from error
    except (KeyError, TypeError) as error:
        raise CorpusError(
            f"{path} is not a readable contrast set ({type(error).__name__}: {error}).", remedy=form
        ) from error
    if not all(isinstance(text, str) and text and isinstance(label, str) for text, label in pairs):
        raise CorpusError(f"A record of {path} has a text or class that is empty or not a string.")
    texts = dict(pairs)
    both = [text for text, label in pairs if texts[text] != label]
    if both:
        raise CorpusError(
            f"{path} has {len(set(both))} texts in two classes, such as {both[0][:60]!r}.",
            remedy="Keep each text in one class only.",
        )
    labels = np.array(list(texts.values()))
    classes = list(dict.fromkeys(texts.values()))
    counts = {label: int((labels == label).sum()) for label in classes}
    if len(classes) != 2 or min(counts.values()) < LEAST:
        listed = ", ".join(f"{count} of {label!r}" for label, count in counts.items())
        raise CorpusError(
            f"{path} has {listed or 'no texts'}; a contrast has two classes of at least {LEAST} different texts each.",
            remedy="Add texts, or remove other classes.",
        )
    tested = np.zeros(len(texts), dtype=bool)
    rng = np.random.default_rng(seed)
    for label in classes:
        members = rng.permutation(np.flatnonzero(labels == label))
        tested[members[len(members) // 2 :]] = True
    documents = tuple(Document(text, text) for text in texts)
    again = len(pairs) - len(texts)
    remarks = (f"Duplicate texts of {path.stem} that are left out: {again}.",) if again else ()
    return Contrast(path.stem, (classes[0], classes[1]), documents, labels == classes[0], tested, remarks)


@final
@dataclass(frozen=True)
class LabelledRows:
    """Activations of one site in two classes.

    Attributes:
        name: Name of the file.
        rows: (n, d_model) float.
        labels: (n,) integers: 0 for the first class, 1 for the second.
    """

    name: str
    rows: NDArray[np.floating]
    labels: NDArray[np.integer]

    def difference(self) -> NDArray[np.float64]:
        """Return mean(first class) - mean(second class), (d_model,)."""
        first, second = (self.rows[self.labels == label].mean(0, dtype=np.float64) for label in (0, 1))
        difference: NDArray[np.float64] = first - second
        return difference


def read_labelled_rows(path: Path) -> LabelledRows:
    """Read a safetensors file of `rows`, (n, d_model) float, and `labels`, (n,) integers, 0 and 1.

    Raises:
        BridgeError: As `read_vectors`, or if the tensors do not match, or a class is missing.
    """
    arrays = read_arrays(path)
    if set(arrays) != {"rows", "labels"}:
        raise BridgeError(
            f"{path} holds {', '.join(sorted(arrays)) or 'nothing'}.",
            remedy="Labelled rows are two tensors: rows (n, d_model) float, and labels (n,) integers.",
        )
    rows, labels = _finite(arrays["rows"], "rows", path), arrays["labels"]
    if rows.ndim != 2 or labels.shape != rows.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise BridgeError(
            f"{path} has rows of shape {rows.shape} and labels of shape {labels.shape}, {labels.dtype}.",
            remedy="Give rows (n, d_model) float, and labels (n,) integers, one per row.",
        )
    found = sorted(set(labels.tolist()))
    if found != [0, 1]:
        listed = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        raise BridgeError(
            f"The labels of {path} are {listed or 'none'}; a difference of means needs the two classes 0 and 1.",
            remedy="Label the first class 0 and the second 1, and remove rows of other classes.",
        )
    return LabelledRows(path.name, rows, labels)
