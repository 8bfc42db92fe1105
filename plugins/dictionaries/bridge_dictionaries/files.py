"""Reading files of unknown sources: every unexpected content gives an error that names the file."""

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
from bridge.files.json import read_json

T = TypeVar("T", str, int, bool, dict[str, Any])
Floats = NDArray[np.float32]


@final
class Config:
    """A JSON object with values of any type, and its file."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        self.path, self.values = path, values

    @classmethod
    def read(cls, path: Path) -> Config:
        """Read a file.

        Raises:
            BridgeError: If the file is missing or is not a JSON object.
        """
        remedy = "Download or copy the dictionary again, or give its folder."
        return cls(path, read_json(path, dict[str, Any], remedy))

    def get(self, name: str, kind: type[T]) -> T | None:
        """Return a value of the given type, or None if it is absent or null.

        Raises:
            BridgeError: If the value has another type.
        """
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise BridgeError(f"{self.path}: {name} should be of type {kind.__name__}, but is {str(value)[:80]!r}.")
        return value

    def need(self, name: str, kind: type[T]) -> T:
        """Return a value of the given type.

        Raises:
            BridgeError: If the value is absent or has another type.
        """
        value = self.get(name, kind)
        if value is None:
            raise BridgeError(f"{self.path} has no {name}.", cause="The file has another layout, or is incomplete.")
        return value

    def inner(self, name: str) -> Config:
        """Return a nested object, empty if it is absent."""
        return Config(self.path, self.get(name, dict) or {})

    def positive(self, name: str) -> int:
        """Return a count, at least 1."""
        value = self.need(name, int)
        if value < 1:
            raise BridgeError(f"{self.path}: {name} should be at least 1, but is {value}.")
        return value


def refuse_unknown(config: Config, known: Collection[str]) -> None:
    """Refuse unknown options that are switched on, because they may change the dictionary's computation.

    Raises:
        BridgeError: Naming the options.
    """
    found = [f"{name} = {str(value)[:40]}" for name, value in config.values.items() if value and name not in known]
    if found:
        raise BridgeError(
            f"{config.path} has unknown options: {', '.join(sorted(found))}.",
            cause="The file was written by a later release or a variant; the options may change the computation.",
            remedy="If an option only concerns training, remove it from the file.",
        )


@final
class Weights:
    """Named arrays of one file, checked on access."""

    def __init__(self, path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.path, self.arrays = path, arrays

    def __call__(self, name: str, ndim: int = 1) -> Floats:
        """Return an array as float32, C-contiguous, of `ndim` dimensions; 0 dimensions become (1,).

        Raises:
            BridgeError: If it is missing, has other dimensions, is not float, or has NaN or infinite values.
        """
        if name not in self.arrays:
            raise BridgeError(
                f"{self.path} has no {name}: it has {', '.join(sorted(self.arrays))[:300] or 'no arrays'}.",
                cause="The file differs from its configuration, or is incomplete.",
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
        BridgeError: If shapes do not match; the message names the file.
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
    """Scale every direction to length 1 and its encoder by the old length; the reconstruction stays the same.

    Shapes: (d_model, features), (features,), (features, d_model), all float32, in and out.
    """
    norms = np.linalg.norm(directions, axis=1).astype(np.float32)
    safe = np.maximum(norms, np.finfo(np.float32).tiny)
    return encoder * norms, encoder_bias * norms, directions / safe[:, None]


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file atomically.

    Raises:
        BridgeError: If the file cannot be written.
    """
    write_bytes(path, json.dumps(values, indent=2).encode())
