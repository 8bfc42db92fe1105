"""Reading what verbalizers said, and how similar it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from bridge.directions import read_vectors
from bridge.errors import BridgeError
from bridge.pipeline.folder import EXPLANATIONS, KEPT
from bridge.report.html.inputs import Matrix, Said
from bridge.scorers import MAPPED

SIMILARITY = "similarity."
REMEDY = "Run it again: bridge run FOLDER/config.toml --out ANOTHER."


def read_explanations(folder: Path) -> dict[str, list[Said]]:
    """Return by washout what was said of each feature; empty where nothing was explained.

    Raises:
        BridgeError: If the file is damaged, or washouts differ in features or arms.
    """
    path = folder / EXPLANATIONS
    if not path.is_file():
        return {}
    found: dict[str, list[Said]] = {}
    try:
        # Not splitlines: a text may hold U+2028, which JSON does not escape.
        for line in path.read_text(encoding="utf-8").split("\n"):
            if not line:
                continue
            record = json.loads(line)
            found.setdefault(str(record.pop("washout")), []).append(TypeAdapter(Said).validate_python(record))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise BridgeError(f"{path} is damaged ({type(error).__name__}).", remedy=REMEDY) from error
    shapes = {tuple((one.feature, *one.foreign) for one in some) for some in found.values()}
    if len(shapes) != 1 or not all(MAPPED in one.foreign for some in found.values() for one in some):
        raise BridgeError(f"{path} is damaged: its washouts differ in features or arms.", remedy=REMEDY)
    return found


def read_similarity(folder: Path, said: Mapping[str, list[Said]]) -> dict[tuple[str, str], Matrix]:
    """Return by washout and arm how similar native and foreign texts are, (n, n).

    Raises:
        BridgeError: If the file is damaged, or of other features than were explained.
    """
    path = folder / KEPT
    if not said or not path.is_file():
        return {}
    found: dict[tuple[str, str], Matrix] = {}
    for name, matrix in read_vectors(path).items():
        # A washout's name may hold dots (contrast:strength=1.5), an arm's does not.
        washout, _, arm = name.removeprefix(SIMILARITY).rpartition(".")
        if not name.startswith(SIMILARITY) or washout not in said:
            continue
        n = len(said[washout])
        if matrix.shape != (n, n) or np.abs(matrix).max(initial=0) > 1.001:
            raise BridgeError(f"{path} does not belong to {folder / EXPLANATIONS}: {name} is no ({n}, {n}) of cosines.")
        found[washout, arm] = matrix
    return found
