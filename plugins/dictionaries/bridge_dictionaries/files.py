"""Reading files of unknown sources: every surprise in them becomes an error that names the file."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from bridge.dictionaries import Activation, Gated, JumpReLU, Origin, SparseAutoencoder
from bridge.errors import BridgeError
from bridge.files import write_bytes
from bridge.json_files import read_json

T = TypeVar("T", str, int, bool, dict[str, Any])
Floats = NDArray[np.float32]


@final
class Config:
    """A JSON object whose values may be of any type, and the file it came from."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.values = path, values

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a file.

        Raises:
            BridgeError: If it is missing or holds no JSON object.
        """
        remedy = "Fetch or copy the dictionary again, or give the folder that it is in."
        return cls(path, read_json(path, dict[str, Any], remedy))

    def get(self, name: str, kind: type[T]) -> T | None:
        """Return a value of one type, or None where it is absent or null.

        Raises:
            BridgeError: If it is of another type.
        """
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BridgeError(f"{self.path}: {name} should be of type {kind.__name__}, but is {str(value)[:80]!r}.")
        return value

    def need(self, name: str, kind: type[T]) -> T:
        """Return a value of one type.

        Raises:
            BridgeError: If it is absent or of another type.
        """
        value = self.get(name, kind)
        if value is None:
            raise BridgeError(f"{self.path} has no {name}.", cause="It is of another layout, or half-written.")
        return value

    def inner(self, name: str) -> Config:
        """Return a nested object, empty where it is absent."""
        return Config(self.path, self.get(name, dict) or {})

    def positive(self, name: str) -> int:
        """Return a count, at least 1."""
        value = self.need(name, int)
        if value < 1:
            raise BridgeError(f"{self.path}: {name} should be at least 1, but is {value}.")
        return value


def refuse_unknown(config: Config, known: Collection[str]) -> None:
    """Refuse options that nobody here knows and that are switched on: they may change what a dictionary computes.

    Raises:
        BridgeError: Naming them.
    """
    found = [f"{name} = {str(value)[:40]}" for name, value in config.values.items() if value and name not in known]
    if found:
        raise BridgeError(
            f"{config.path} says what is not known here: {', '.join(sorted(found))}.",
            cause="It was written by a later release or a variant, whose options may change what it computes.",
            remedy="If an option is one of training alone, remove it from the file.",
        )


@final
class Weights:
    """Named arrays of one file, each checked as it is asked for."""

    def __init__(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.path, self.arrays = path, arrays

    def __call__(self, name: str, ndim: int = 1) -> Floats:
        """Return an array as float32, C-contiguous, of `ndim` dimensions; 0 dimensions come back as (1,).

        Raises:
            BridgeError: If it is missing, has other dimensions, is not of floats, or holds NaN or infinite values.
        """
        if name not in self.arrays:
            raise BridgeError(
                f"{self.path} holds no {name}: it has {', '.join(sorted(self.arrays))[:300] or 'no arrays'}.",
                cause="It is of another kind than its configuration says, or half-written.",
            )
        array = np.atleast_1d(self.arrays[name])
        if array.ndim != ndim or array.dtype.kind != "f" or not array.size:
            found = f"{array.dtype}, shape {array.shape}"
            raise BridgeError(f"{self.path}: {name} should be {ndim}-dimensional floats, but is {found}.")
        with np.errstate(over="ignore"):
            floats: Floats = np.ascontiguousarray(array, dtype=np.float32)
        if not np.isfinite(floats).all():
            cause = "Its training diverged, or the file is damaged."
            raise BridgeError(f"{self.path}: {name} holds NaN or infinite values.", cause=cause)
        return floats


def assemble(
    path: Path,
    encoder: Floats,
    encoder_bias: Floats,
    directions: Floats,
    decoder_bias: Floats,
    activation: Activation,
    shift: Floats | None,
    origin: Origin,
) -> SparseAutoencoder:
    """Build the dictionary; arguments as in `SparseAutoencoder`.

    Raises:
        BridgeError: If shapes do not belong together; the message names the file.
    """
    n_features = len(directions)
    of_features: list[Floats] = []
    if isinstance(activation, JumpReLU):
        of_features = [activation.threshold] if activation.threshold.shape != (1,) else []
    elif isinstance(activation, Gated):
        of_features = [activation.gate_bias, activation.scale, activation.magnitude_bias]
    for array in of_features:
        if array.shape != (n_features,):
            raise BridgeError(f"{path}: a bias or threshold has shape {array.shape}, not {(n_features,)}.")
    try:
        return SparseAutoencoder(
            encoder, encoder_bias, directions, decoder_bias, activation, shift=shift, origin=origin
        )
    except BridgeError as error:
        raise BridgeError(f"{path}: {error.what}", cause=error.cause, remedy=error.remedy) from error


def fold_norms(encoder: Floats, encoder_bias: Floats, directions: Floats) -> tuple[Floats, Floats, Floats]:
    """Give every direction length 1 and its encoder the length it had; what the dictionary reconstructs is the same.

    Shapes: (d_model, features), (features,), (features, d_model), all float32, in and out.
    """
    norms = np.linalg.norm(directions, axis=1).astype(np.float32)
    safe = np.maximum(norms, np.finfo(np.float32).tiny)
    return encoder * norms, encoder_bias * norms, directions / safe[:, None]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all.

    Raises:
        BridgeError: If the disk refuses.
    """
    write_bytes(path, json.dumps(values, indent=2).encode())
