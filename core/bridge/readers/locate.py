"""Folders of readers, here or on the hub: found, and told from changed ones."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bridge.errors import BridgeError
from bridge.files import RACY_NS, stamp_of
from bridge.models import Weights
from bridge.models.weights import models_folder, unavailable

Role = Literal["av", "ar"]
AV: Role = "av"
AR: Role = "ar"
HUB = "hub:"
MAIN = "*.yaml"
"""What a repository of several readers has once for all of them."""

FILES = ("*.json", "*.safetensors", "*.yaml", "*.jinja", "*.model", "*.txt")
"""What is fetched from the hub: whatever a checkpoint needs, and no pickle."""


def halves(folder: Path, reconstructor: Path | None = None) -> tuple[Path, Path | None]:
    """Return the folders of a reader and, where there is one, of its reconstructor.

    Args:
        folder: Holds `av/` and maybe `ar/`, or is the reader itself.
        reconstructor: Holds `ar/`, or is the reconstructor itself; None for what the reader's folder holds.
    """
    av = folder / AV if (folder / AV).is_dir() else folder
    other = reconstructor or folder
    if (other / AR).is_dir():
        return av, other / AR
    return av, reconstructor


def fingerprint(folder: Path) -> str:
    """Return what tells a checkpoint from a changed one: of each file name, inode, size and times of change.

    What changed a moment ago is waited for, two seconds at most: a later write might bear the same times.
    """
    files = sorted({file for pattern in FILES for file in folder.glob(pattern)})
    latest = max((stamp_of(file)[1] for file in files), default=0)
    # Times in the future are a clock's fault, and no reason to wait.
    if 0 < (left := latest + RACY_NS - time.time_ns()) <= RACY_NS:
        time.sleep(left / 1e9)
    return json.dumps([(file.name, stamp_of(file)[0]) for file in files])


def locate(text: str, model: str, wanted: Sequence[str] = FILES) -> Path:
    """Return the folder of a reader.

    Args:
        text: A folder, `hub:user/repo`, or `hub:user/repo/folder` for one inside a repository.
        model: Whose activations are explained, for advice.
        wanted: Names of the files that are fetched of one on the hub, as patterns.

    Raises:
        BridgeError: If there is no such folder.
        ModelUnavailableError: If the hub does not have it or cannot be reached.
    """
    if text.startswith(HUB):
        name = text.removeprefix(HUB)
        by_hand = models_folder() / name
        return by_hand if by_hand.is_dir() else _fetched(name, wanted)
    folder = Path(text).expanduser().absolute()
    if not folder.is_dir():
        raise BridgeError(
            f"There is no folder {folder}.",
            remedy=f"Train a verbalizer first: bridge verbalizer train --model {model} --out {text}; or give "
            f"{HUB}user/repo for a released one.",
        )
    return folder


def _fetched(name: str, wanted: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    user, _, rest = name.partition("/")
    repository, _, folder = rest.partition("/")
    # Of a repository of several readers, a folder and what the whole says of itself.
    patterns = [f"{folder}/{pattern}" for pattern in wanted] + [MAIN] if folder else list(wanted)
    try:
        return Path(snapshot_download(f"{user}/{repository}", allow_patterns=patterns)) / folder
    except Exception as error:
        raise unavailable(Weights(name), error) from error
