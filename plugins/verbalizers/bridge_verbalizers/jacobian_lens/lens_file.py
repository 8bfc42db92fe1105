"""Our own lens files: sums of Jacobians over texts in safetensors, so that fits on disjoint texts add up exactly."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bridge.errors import BridgeError
from bridge.files import write_file

KEY = "jacobian_lens"
"""Of the metadata, a JSON document."""

FORMAT = 1

Sums = dict[int, NDArray[np.float64]]


@final
@dataclass(frozen=True)
class LensRecord:
    """What a lens is and was made of.

    Attributes:
        model: Its name, for people.
        weights: What identifies its weights.
        d_model: Width of the stream.
        n_layers: Number of blocks.
        layers: After which of them it reads.
        skip: How many positions of each text were left out at the beginning.
        max_tokens: After how many tokens texts were cut.
        dtype: In which the model was run.
        corpus: What identifies the texts.
        prompts: Hashes of the token ids of each text that is in the sums.
        positions: How many positions were averaged over in all of them.
        target: What was differentiated.
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
        """Return the record of the same lens with one text more."""
        return replace(self, prompts=(*self.prompts, prompt), positions=self.positions + positions)

    def said(self) -> dict[str, Any]:
        """Return it as JSON for people: with the number of texts, not each."""
        return asdict(self) | {"prompts": len(self.prompts)}

    def differences(self, other: LensRecord) -> list[str]:
        """Name the fields in which two lenses are not of one kind; how many texts they have is their own affair."""
        own = {"model", "prompts", "positions", "corpus"}
        return [
            one.name
            for one in fields(self)
            if one.name not in own and getattr(self, one.name) != getattr(other, one.name)
        ]


def write_lens(path: Path, sums: Mapping[int, NDArray[np.float64]], record: LensRecord) -> None:
    """Write a lens, whole or not at all.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    arrays = {f"sum.{layer}": sums[layer] for layer in record.layers}
    metadata = {KEY: json.dumps(asdict(record))}
    write_file(path, lambda temporary: save_file(arrays, temporary, metadata))


def read_record(path: Path) -> LensRecord:
    """Read what a lens is, from the file's header.

    Raises:
        BridgeError: If it is no lens of ours.
    """
    try:
        with safe_open(path, "numpy") as file:
            text, names = (file.metadata() or {}).get(KEY), set(file.keys())
        record = TypeAdapter(LensRecord).validate_json(text or "")
    except (OSError, SafetensorError, ValidationError) as error:
        raise _no_lens(path, "It is damaged, or another kind of file.") from error
    if record.format != FORMAT:
        raise _no_lens(path, f"It has format {record.format}, and this version reads {FORMAT}.")
    if names != {f"sum.{layer}" for layer in record.layers} or not record.prompts:
        raise _no_lens(path, "It does not hold the matrices that it names.")
    return record


def read_sum(path: Path, record: LensRecord, layer: int) -> NDArray[np.float64]:
    """Read the sum of a layer's Jacobians over all texts, (d_model, d_model) float64.

    Raises:
        BridgeError: If it has another shape or dtype, or values that are not finite.
    """
    try:
        with safe_open(path, "numpy") as file:
            found: NDArray[np.float64] = file.get_tensor(f"sum.{layer}")
    except (OSError, SafetensorError) as error:
        raise _no_lens(path, "It is damaged.") from error
    if found.shape != (record.d_model,) * 2 or found.dtype != np.float64 or not np.isfinite(found).all():
        raise _no_lens(path, f"The matrix of layer {layer} is not {record.d_model} finite float64 values squared.")
    return found


def _no_lens(path: Path, cause: str) -> BridgeError:
    return BridgeError(f"{path} is no Jacobian lens.", cause=cause, remedy="Fit one: `bridge lens fit`.")
