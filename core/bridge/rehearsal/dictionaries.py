"""Stand-ins of dictionaries, in the format of the real ones."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

from bridge.dictionaries import (
    Activation,
    Dictionary,
    DictionaryFormat,
    Origin,
    ReLU,
    SparseAutoencoder,
    TopK,
    initial_directions,
)
from bridge.errors import BridgeError
from bridge.files import expand_user
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.transfer.dictionaries import HUB, OWN, check_belongs, open_dictionary, shipped
from bridge.plugins.registry import Registry

FEATURES = 512
"""Features of a stand-in: a quarter of them is reported on, so that 45 can be drawn."""


def is_here(reference: str) -> bool:
    """Tell whether a dictionary is on this machine, without the network."""
    if not reference.startswith(HUB):
        return reference == OWN or expand_user(reference).exists()
    from huggingface_hub import snapshot_download

    user, _, rest = reference.removeprefix(HUB).partition("/")
    repository, _, folder = rest.partition("/")
    named, _, revision = repository.partition("@")
    try:
        found = snapshot_download(f"{user}/{named}", revision=revision or None, local_files_only=True)
    except Exception:  # the hub's client raises many error types, all of which mean: not here
        return False
    return (Path(found) / folder).exists()


def checked(reference: str, model: ResolvedModel, any_model: bool, registry: Registry) -> Dictionary:
    """Open a real dictionary, and hold it to the real model's width, site and name.

    Raises:
        BridgeError: If it cannot be read, or is another model's.
    """
    return check_belongs(open_dictionary(reference, registry), model, model.single_site(), any_model=any_model)


def format_of(path: Path, registry: Registry) -> DictionaryFormat | None:
    """Return the format of a dictionary; None if there is none."""
    for fmt in registry.dictionary_formats.values():
        try:
            if fmt.recognises(path):
                return fmt
        except Exception:  # an error of one format on another format's files
            continue
    return None


def write_dictionary(
    folder: Path, fmt: DictionaryFormat | None, d_model: int, origin: Origin, registry: Registry
) -> str:
    """Write a stand-in in a format, or in the first one that can, and return the path to read.

    Args:
        folder: To write.
        fmt: The format of the real one; None if that is not known.
        d_model: Width of the stand-in of its model.
        origin: Model and site to name.
        registry: Installed formats.

    Raises:
        BridgeError: If no format gives an example.
    """
    formats = [fmt] if fmt else list(registry.dictionary_formats.values())
    error = BridgeError("No dictionary format is installed.", remedy="See `bridge plugins --kind dictionary_formats`.")
    for number, (one, activation) in enumerate(product(formats, (ReLU(), TopK(32)))):
        try:
            return str(one.example(folder / str(number), _random(d_model, activation, origin)))
        except BridgeError as refused:
            error = refused
    raise error


def write_shipped(real: ResolvedModel, stand_in: Path, d_model: int, registry: Registry) -> None:
    """Write a stand-in of every dictionary that lies in the folder of a model's weights, at the model's sites.

    Raises:
        BridgeError: As `write_dictionary`.
    """
    there = shipped(real)
    for site in map(str, real.all_sites()):
        for name, path in there.get(site, {}).items():
            folder, fmt = stand_in / "dictionaries" / site, format_of(path, registry)
            written = Path(write_dictionary(folder / f".{name}", fmt, d_model, Origin(), registry))
            written.rename(folder / name)


def _random(d_model: int, activation: Activation, origin: Origin) -> SparseAutoencoder:
    directions = initial_directions(d_model, FEATURES, seed=0)
    zeros = np.zeros(FEATURES, np.float32), np.zeros(d_model, np.float32)
    return SparseAutoencoder(directions.T.copy(), zeros[0], directions, zeros[1], activation, origin=origin)
