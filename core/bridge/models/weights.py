"""The weights of a model: their folder or hub repository, whether they are on this machine, and their identity."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import Any, final

from pydantic import BaseModel

from bridge.errors import BridgeError, ModelError, ModelUnavailableError, StoreError
from bridge.files import cache_folder, user_folder
from bridge.files.json import read_json
from bridge.files.limits import need_within
from bridge.hub_errors import links_of, refusal_of
from bridge.store import Store

_INDEX_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


SMALL = ("*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken")
"""Files of a checkpoint that transformers reads whole."""

_LAYERS = re.compile("(num|n)_.*layers?$|_layers$|^num_labels$")
"""Keys of numbers for which transformers makes as many modules or entries of a list."""


@final
class Index(BaseModel):
    """Of a checkpoint in several files: by name of a tensor the file that holds it."""

    weight_map: dict[str, str]

    def files(self) -> list[str]:
        """Return the names of the files, sorted.

        Raises:
            ValueError: If a file would be outside the checkpoint's folder.
        """
        names = sorted(set(self.weight_map.values()))
        outside = [name for name in names if PureWindowsPath(name).drive or {"..", ""} & set(re.split(r"[/\\]", name))]
        if outside:
            raise ValueError(f"it names {outside[0]!r}, which is outside the folder")
        return names


@final
@dataclass(frozen=True)
class Weights:
    """A checkpoint in Hugging Face layout, in a folder or on the hub.

    Attributes:
        source: Absolute path of a folder, or a hub id.
        revision: Branch, tag or commit on the hub; empty for the default branch or a folder.
    """

    source: str
    revision: str = ""

    @property
    def folder(self) -> Path | None:
        """The folder, if the weights are in a folder.

        Returns:
            The folder.
        """
        return Path(self.source) if Path(self.source).is_absolute() else None

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The raw `config.json`; empty if a folder has none.

        Raises:
            ModelUnavailableError: If the hub does not have it or cannot be reached.
            ModelError: If it is not JSON.
        """
        path = self.folder / "config.json" if self.folder else self._download("config.json")
        if not path.is_file():
            return {}
        try:
            config = read_json(path, dict[str, Any])
        except BridgeError as error:
            raise ModelError(f"{path} is not a readable JSON object.", cause=error.cause or error.what) from error
        need_within("blocks", _depth(config), f"The configuration {path}")
        return config

    def small_files(self) -> Path | None:
        """Return the folder of the configuration and of other small files that are here, without the network.

        Returns:
            The folder; None if the configuration of a hub model is not in the hub's cache.
        """
        if self.folder:
            return self.folder
        found = self._file("config.json", fetch=False)
        return found.parent if found else None

    def are_here(self) -> bool:
        """Tell whether the weights are on this machine, without touching the network."""
        from huggingface_hub import try_to_load_from_cache

        if self.folder:
            return self.folder.is_dir()
        revision = self.revision or None
        return any(isinstance(try_to_load_from_cache(self.source, f, revision=revision), str) for f in _INDEX_FILES)

    def tensor_files(self, fetch: bool) -> list[Path]:
        """Return the files that transformers reads tensors from, in its order of preference: safetensors, then pickles.

        Args:
            fetch: Whether to fetch missing files from the hub.

        Returns:
            The files; empty if there are none, or if a file is missing and is not fetched.

        Raises:
            ModelUnavailableError: If the hub cannot be reached.
            ModelError: If an index is damaged, or names a file that is not there.
        """
        for name in _INDEX_FILES:
            found = self._file(name, fetch)
            if found is None:
                continue
            if found.suffix != ".json":
                return [found]
            try:
                names = read_json(found, Index).files()
                shards = {shard: self._file(shard, fetch) for shard in names}
            except (BridgeError, OSError, ValueError) as error:
                raise ModelError(f"{found} is not a readable index of a checkpoint ({error}).") from error
            absent = [shard for shard, file in shards.items() if file is None]
            if absent and (self.folder or fetch):
                raise ModelError(
                    f"{self.source} lacks {', '.join(absent[:4])}{' and more' if len(absent) > 4 else ''}, which "
                    f"{found.name} names.",
                    cause="It was not copied or fetched to the end.",
                    remedy="Copy or fetch what is missing.",
                )
            return [] if absent else [file for file in shards.values() if file is not None]
        return []

    def identity(self, store: Store) -> str:
        """Return the identity of the content: hub id and commit, or a hash over the folder's files.

        Args:
            store: Keeps hashes of large files until the files change.
        """
        if self.folder is None:
            return f"{self.source}@{self.pinned().revision}"
        files = sorted(file for file in self.folder.iterdir() if file.is_file() and not file.name.startswith("."))
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.name}\0{store.hash_of(file)}\n".encode())
        return digest.hexdigest()

    def pinned(self) -> Weights:
        """Return the same weights at their commit, so that later changes of a branch have no effect.

        Raises:
            ModelUnavailableError: If the hub does not have them or cannot be reached.
        """
        # The hub's cache keeps each commit's files in a folder named by the commit.
        return self if self.folder else Weights(self.source, self._download("config.json").parent.name)

    def _file(self, name: str, fetch: bool) -> Path | None:
        """Return one file of the checkpoint, or None where it has none of that name or it is not here."""
        from huggingface_hub import errors, hf_hub_download, try_to_load_from_cache

        if self.folder:
            return self.folder / name if (self.folder / name).is_file() else None
        found = try_to_load_from_cache(self.source, name, revision=self.revision or None)
        if isinstance(found, str):
            return Path(found)
        if not fetch:
            return None
        try:
            return Path(hf_hub_download(self.source, name, revision=self.revision or None))
        except (errors.EntryNotFoundError, errors.LocalEntryNotFoundError) as error:
            if isinstance(error, errors.LocalEntryNotFoundError) and not self.are_here():
                raise unavailable(self, error) from error
            return None
        except Exception as error:
            raise unavailable(self, error) from error

    def _download(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        try:
            return Path(hf_hub_download(self.source, name, revision=self.revision or None))
        except Exception as error:
            # A cache that may only be read takes no lock and no news of a branch; what is in it is of use all the same.
            cached = try_to_load_from_cache(self.source, name, revision=self.revision or None)
            refused = isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM)
            if refused and isinstance(cached, str):
                return Path(cached)
            raise unavailable(self, error) from error


def _depth(value: Any) -> int:
    """Return the largest number of layers that a configuration, or one inside it, states."""
    if not isinstance(value, dict):
        return 0
    counts = [one for name, one in value.items() if _LAYERS.search(name) and isinstance(one, int)]
    return max([0, *counts, *map(_depth, value.values())])


def need_small_files(weights: Weights) -> None:
    """Refuse files of a configuration or a tokenizer that are too large to be read whole.

    Raises:
        BridgeError: If one exceeds the limit `vocabulary`.
    """
    if folder := weights.small_files():
        for file in (file for pattern in SMALL for file in folder.glob(pattern)):
            if file.is_file():
                need_within("vocabulary", file.stat().st_size, str(file))


def models_folder() -> Path:
    """Return `BRIDGE_MODELS_DIR`, or the folder of the user's data where weights can be put by hand.

    Without a home folder, it is `models` in the cache.
    """
    import platformdirs

    if os.environ.get("BRIDGE_MODELS_DIR"):
        return user_folder("BRIDGE_MODELS_DIR", platformdirs.user_data_path)
    try:
        return user_folder("BRIDGE_MODELS_DIR", platformdirs.user_data_path) / "models"
    except StoreError:
        return cache_folder() / "models"


def unavailable(weights: Weights, error: Exception) -> BridgeError:
    """Turn whatever transformers or huggingface_hub raised into an error that says what to do."""
    chain = links_of(error)
    reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    if any(isinstance(link, MemoryError) or "out of memory" in str(link) for link in chain):
        return ModelError(
            f"{weights.source} does not fit into memory ({reason}).",
            remedy="Use --dtype bfloat16, a larger --device, or close other programs.",
        )
    if any(isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT) for link in chain):
        return StoreError(
            f"The weights of {weights.source} could not be stored ({reason}).",
            cause="The disk is full.",
            remedy="Free some space, or set HF_HOME to a larger disk.",
        )
    if isinstance(lacks := chain[-1], ImportError):
        return ModelError(
            f"{weights.source} cannot be loaded: {str(lacks).strip().partition(chr(10))[0]}",
            cause="transformers reads such a checkpoint, or its tokenizer, with a package that is not installed.",
            remedy="Install the package that is named.",
        )
    if weights.folder:
        return ModelError(
            f"{weights.folder} cannot be loaded ({reason}).",
            cause="A file of the checkpoint is missing, truncated, or of a kind that transformers does not know.",
            remedy="It needs config.json, tokenizer.json and *.safetensors, whole: fetch or copy it again.",
        )
    where = f"{weights.source}{f' at revision {weights.revision}' if weights.revision else ''}"
    by_hand = (
        f"Put its files (config.json, tokenizer.json, *.safetensors) or one .gguf file into "
        f"{models_folder() / weights.source}, or give a folder as the model."
    )
    if refusal := refusal_of(weights.source, weights.revision, error):
        return ModelUnavailableError(refusal.what, cause=refusal.cause, remedy=refusal.remedy or by_hand)
    return ModelError(f"{where} cannot be loaded ({reason}).", remedy=by_hand)
