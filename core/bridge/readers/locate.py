"""Folders of readers, on this machine or on the hub, and fingerprints of their files."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bridge.errors import BridgeError
from bridge.files import RACY_NS, expand_user, stamp_of
from bridge.models import Weights
from bridge.models.weights import models_folder, unavailable

Role = Literal["av", "ar"]
AV: Role = "av"
AR: Role = "ar"
HUB = "hub:"
MAIN = "*.yaml"
"""Pattern of files that a repository of several readers has once for all readers."""

FILES = ("*.json", "*.safetensors", "*.yaml", "*.jinja", "*.model", "*.txt")
"""Patterns of files that are fetched from the hub: all files of a checkpoint, and no pickles."""


def halves(folder: Path, reconstructor: Path | None = None) -> tuple[Path, Path | None]:
    """Return the folders of a reader and of its reconstructor, if there is one.

    Args:
        folder: The reader's folder, or a folder with `av/` and possibly `ar/`.
        reconstructor: The reconstructor's folder, or a folder with `ar/`; None to look for `ar/` in `folder`.
    """
    av = folder / AV if (folder / AV).is_dir() else folder
    other = reconstructor or folder
    if (other / AR).is_dir():
        return av, other / AR
    return av, reconstructor


def fingerprint(folder: Path) -> str:
    """Return a fingerprint of a checkpoint: name, inode, size and times of change of each file.

    If a file changed less than two seconds ago, this function waits: a later write could have the same times.
    """
    files = sorted({file for pattern in FILES for file in folder.glob(pattern)})
    latest = max((stamp_of(file)[1] for file in files), default=0)
    # Times in the future come from a wrong clock; waiting would not help.
    if 0 < (left := latest + RACY_NS - time.time_ns()) <= RACY_NS:
        time.sleep(left / 1e9)
    return json.dumps([(file.name, stamp_of(file)[0]) for file in files])


def locate(text: str, model: str, wanted: Sequence[str] = FILES) -> Path:
    """Return the folder of a reader.

    Args:
        text: A folder, `hub:user/repo`, or `hub:user/repo/folder` for a folder of a repository.
        model: The model whose activations are explained, for the error message.
        wanted: Patterns of the files to fetch from the hub.

    Raises:
        BridgeError: If there is no such folder.
        ModelUnavailableError: If the hub does not have the repository or cannot be reached.
    """
    if text.startswith(HUB):
        name = text.removeprefix(HUB)
        by_hand = models_folder() / name
        return by_hand if by_hand.is_dir() else _fetched(name, wanted)
    folder = expand_user(text).absolute()
    if not folder.is_dir():
        raise BridgeError(
            f"There is no folder {folder}.",
            remedy=f"Train a verbalizer first: bridge verbalizer train --model {model} --out {text}; or use "
            f"{HUB}user/repo for a released verbalizer.",
        )
    return folder


def _fetched(name: str, wanted: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download

    user, _, rest = name.partition("/")
    repository, _, folder = rest.partition("/")
    # From a repository of several readers: the folder of one, and the files that describe all.
    patterns = [f"{folder}/{pattern}" for pattern in wanted] + [MAIN] if folder else list(wanted)
    try:
        return Path(snapshot_download(f"{user}/{repository}", allow_patterns=patterns)) / folder
    except Exception as error:
        raise unavailable(Weights(name), error) from error
