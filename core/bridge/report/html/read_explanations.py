"""Reading what verbalizers said, how similar it is, and what else scorers kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from bridge.directions import read_vectors
from bridge.errors import BridgeError
from bridge.pipeline.jobs.folder import EXPLANATIONS, KEPT
from bridge.pipeline.verbalize.records import FeatureRecord
from bridge.report.html.inputs import Matrix
from bridge.scorers import MAPPED

SIMILARITY = "similarity."
REMEDY = "Run it again: bridge run FOLDER/config.toml --out ANOTHER."


def read_explanations(folder: Path) -> dict[str, list[FeatureRecord]]:
    """Return by washout what was said of each feature; empty where nothing was explained.

    Raises:
        BridgeError: If the file is damaged, or washouts differ in features or arms.
    """
    path = folder / EXPLANATIONS
    if not path.is_file():
        return {}
    found: dict[str, list[FeatureRecord]] = {}
    try:
        for record in read_lines(path):
            one = TypeAdapter(FeatureRecord).validate_python(record)
            found.setdefault(one.washout, []).append(one)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise BridgeError(f"{path} is damaged ({type(error).__name__}).", remedy=REMEDY) from error
    shapes = {tuple((one.feature, *one.foreign) for one in some) for some in found.values()}
    if len(shapes) != 1 or not all(MAPPED in one.foreign for some in found.values() for one in some):
        raise BridgeError(f"{path} is damaged: its washouts differ in features or arms.", remedy=REMEDY)
    return found


def read_lines(path: Path) -> Iterator[Any]:
    """Yield the records of JSON Lines.

    Raises:
        OSError: If the file cannot be read.
        ValueError: If it is damaged.
    """
    # Not splitlines: a text may hold U+2028, which JSON does not escape.
    return (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line)


def read_kept(folder: Path) -> dict[str, Matrix]:
    """Return the arrays that scorers kept, by name; none where there is no such file.

    Raises:
        BridgeError: If the file is damaged.
    """
    path = folder / KEPT
    return read_vectors(path) if path.is_file() else {}


def read_similarity(
    folder: Path, said: Mapping[str, list[FeatureRecord]], kept: Mapping[str, Matrix]
) -> dict[tuple[str, str], Matrix]:
    """Find among what scorers kept, by washout and arm, how similar native and foreign texts are, (n, n).

    Raises:
        BridgeError: If it is of other features than were explained.
    """
    found: dict[tuple[str, str], Matrix] = {}
    for name, matrix in kept.items():
        # A washout's name may hold dots (contrast:strength=1.5), an arm's does not.
        washout, _, arm = name.removeprefix(SIMILARITY).rpartition(".")
        if not name.startswith(SIMILARITY) or washout not in said:
            continue
        n = len(said[washout])
        if matrix.shape != (n, n) or np.abs(matrix).max(initial=0) > 1.001:
            raise BridgeError(
                f"{folder / KEPT} does not belong to {folder / EXPLANATIONS}: {name} is no ({n}, {n}) of cosines."
            )
        found[washout, arm] = matrix
    return found
