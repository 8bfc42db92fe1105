"""bridge's lens files: sums of Jacobians over texts in safetensors, so that fits on disjoint texts add up exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors.numpy import save_file

from bridge.errors import BridgeError
from bridge.files import write_file
from bridge.files.safetensors import open_tensors
from bridge.files.sealed_arrays import UNSEALED, seal_arrays, seal_holds

KEY = "jacobian_lens"
"""Key of the metadata that holds a JSON document."""

FORMAT = 1

Sums = dict[int, NDArray[np.float64]]


@final
@dataclass(frozen=True)
class LensRecord:
    """Properties and origin of a lens.

    Attributes:
        model: Name of the model, for display.
        weights: Identity of the model's weights.
        d_model: Width of the stream.
        n_layers: Number of blocks.
        layers: Numbers of the blocks whose outputs the lens reads.
        skip: Number of positions left out at the beginning of each text.
        max_tokens: Maximal number of tokens of a text; longer texts were cut.
        dtype: The dtype in which the model was run.
        corpus: Identity of the texts.
        prompts: Hashes of the token ids of each text in the sums.
        positions: Number of positions averaged over, in all texts.
        target: The differentiated quantity.
        format: Version of this record.
    """

    model: str
    weights: str
    d_model: int
    n_layers: int
    layers: tuple[int, ...]
    skip: int
    max_tokens: int
    dtype: str
    corpus: str
    prompts: tuple[str, ...] = ()
    positions: int = 0
    target: str = "the stream after the last block, before the final norm"
    format: int = FORMAT

    def with_prompt(self, prompt: str, positions: int) -> LensRecord:
        """Return the record of the same lens with one more text."""
        return replace(self, prompts=(*self.prompts, prompt), positions=self.positions + positions)

    def said(self) -> dict[str, Any]:
        """Return the record as JSON for display: with the number of texts instead of their hashes."""
        return asdict(self) | {"prompts": len(self.prompts)}

    def differences(self, other: LensRecord) -> list[str]:
        """Return the names of the fields in which two lenses differ, except the model's name and the texts' fields."""
        own = {"model", "prompts", "positions", "corpus"}
        return [
            one.name
            for one in fields(self)
            if one.name not in own and getattr(self, one.name) != getattr(other, one.name)
        ]


def write_lens(path: Path, sums: Mapping[int, NDArray[np.float64]], record: LensRecord) -> None:
    """Write a lens, atomically.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    arrays = {f"sum.{layer}": sums[layer] for layer in record.layers}
    metadata = {KEY: json.dumps(asdict(record) | UNSEALED)}

    def fill(temporary: Path) -> None:
        save_file(arrays, temporary, metadata)
        seal_arrays(temporary)

    write_file(path, fill)


def read_record(path: Path) -> LensRecord:
    """Read a lens's record from the file's header.

    Raises:
        BridgeError: If the file is not a lens of bridge.
    """
    try:
        with open_tensors(path, "np") as file:
            text, names = (file.metadata() or {}).get(KEY), set(file.keys())
        record = TypeAdapter(LensRecord).validate_json(text or "")
        intact = seal_holds(path, KEY)
    except (OSError, ValueError) as error:
        raise _no_lens(path, "It is damaged, or another kind of file.") from error
    if not intact:
        raise _no_lens(path, "Its hash is not in its metadata: it was damaged or edited, or an older version wrote it.")
    if record.format != FORMAT:
        raise _no_lens(path, f"It has format {record.format}, and this version reads {FORMAT}.")
    if names != {f"sum.{layer}" for layer in record.layers} or not record.prompts:
        raise _no_lens(path, "It does not hold the matrices that it names.")
    return record


def read_sum(path: Path, record: LensRecord, layer: int) -> NDArray[np.float64]:
    """Read the sum of a layer's Jacobians over all texts, (d_model, d_model) float64.

    Raises:
        BridgeError: If the sum has another shape or dtype, or values that are not finite.
    """
    try:
        with open_tensors(path, "np") as file:
            found: NDArray[np.float64] = file.get_tensor(f"sum.{layer}")
    except (OSError, ValueError) as error:
        raise _no_lens(path, "It is damaged.") from error
    if found.shape != (record.d_model,) * 2 or found.dtype != np.float64 or not np.isfinite(found).all():
        raise _no_lens(path, f"The matrix of layer {layer} is not {record.d_model} finite float64 values squared.")
    return found


def _no_lens(path: Path, cause: str) -> BridgeError:
    return BridgeError(f"{path} is no Jacobian lens.", cause=cause, remedy="Fit one: `bridge lens fit`.")
