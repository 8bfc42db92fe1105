"""Surroundings of a rehearsal: other folders for models and artifacts, and no network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def offline() -> Iterator[None]:
    """Keep every library of the hub from using the network; what is in the hub's cache can still be read."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        with _environment(HF_DATASETS_OFFLINE="1"):
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


@contextmanager
def models_in(folder: Path) -> Iterator[None]:
    """Take weights that are put by hand from a folder, in which those of a hub id lie under its name."""
    with _environment(BRIDGE_MODELS_DIR=str(folder)):
        yield


@contextmanager
def stage_set(models: Path, cache: Path) -> Iterator[None]:
    """Run on the models in a folder, with a store of their own: nothing of a rehearsal is found by a later run."""
    with _environment(BRIDGE_MODELS_DIR=str(models), BRIDGE_CACHE_DIR=str(cache)):
        yield


@contextmanager
def _environment(**changes: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
