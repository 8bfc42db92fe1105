"""The models of a reader and its reconstructor: each is loaded once, and adapters share their base model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, final

from bridge.errors import BridgeError, UsageError
from bridge.files import expand_user
from bridge.files.json import read_json
from bridge.models import Placement, TransformersTokenizer
from bridge.readers.adapters import add_adapter, use_adapter
from bridge.readers.loading import load_module, load_tokenizer
from bridge.readers.locate import HUB, locate
from bridge.readers.reader import Weights

NO_NAME = re.compile(r"(checkpoint|model|base|final|merged|weights)s?([-_]?\d+)?")
"""Names of folders that many models share, as those of unpacked GGUF files in the store."""


@final
class Bodies:
    """Loads models and tokenizers at the first use, and activates the adapter of the requested weights.

    Args:
        base: Folder or `hub:user/repo` of the base model of adapters; empty for the base model that they name.
        any_base: Accept a base model with another name than the adapters name.
        placement: Device and dtype of the models.
    """

    def __init__(self, base: str, any_base: bool, placement: Placement) -> None:
        self._base, self._any_base, self._placement = base, any_base, placement
        self._modules: dict[Path, Any] = {}
        self._added: dict[Path, str] = {}

    def folder(self, weights: Weights) -> Path:
        """Return the folder of a checkpoint, or of an adapter's base model.

        Raises:
            UsageError: If the adapter names no base model and none is given.
            BridgeError: If there is no such folder, or it has another model.
        """
        if weights.folder:
            return weights.folder
        named = weights.adapter.base if weights.adapter else ""
        if not (self._base or named):
            raise UsageError(
                "The adapter names no base model.", remedy="Name it with the option base, as in base=FOLDER."
            )
        here = expand_user(named)
        if not self._base and here.is_absolute() and not here.is_dir():
            raise BridgeError(
                f"The adapter's base model, {here}, is not on this machine.",
                cause="The adapter was trained on another machine, or the folder was moved or deleted.",
                remedy="Name the folder or the repository of that model with the option base; if its name is another "
                "one there, add any_base=true.",
            )
        text = self._base or (named if here.is_dir() else f"{HUB}{named}")
        found = locate(text, "MODEL@SITE")
        if self._base and named and not self._any_base:
            check_base(found, self._base, named)
        return found

    def tokenizer(self, weights: Weights) -> TransformersTokenizer:
        """Load the tokenizer for some weights."""
        return load_tokenizer(weights.tokenizer or self.folder(weights))

    def module(self, weights: Weights, absent: tuple[str, ...] = ()) -> Any:
        """Return the model of some weights, with only their adapter active.

        Args:
            weights: Weights of a reader or a reconstructor.
            absent: Ends of names of tensors that may be missing in a full checkpoint.
        """
        folder = self.folder(weights)
        if folder not in self._modules:
            self._modules[folder] = load_module(folder, self._placement, absent)
        module = self._modules[folder]
        if weights.adapter is None:
            if self._added:
                use_adapter(module, "")
            return module
        file = weights.adapter.file
        if file not in self._added:
            name = f"reader{len(self._added)}"
            add_adapter(module, weights.adapter, name)
            self._added[file] = name
        use_adapter(module, self._added[file])
        return module


def check_base(folder: Path, given: str, named: str) -> None:
    """Refuse a base model with another name than the adapter names.

    Args:
        folder: Folder of the base model.
        given: The user's name for it.
        named: The name in the adapter's configuration.

    Raises:
        BridgeError: If none of its names equals the adapter's name for it.
    """
    config = folder / "config.json"
    said = read_json(config, dict[str, Any], "Fetch it again.").get("_name_or_path", "") if config.is_file() else ""
    # In a snapshot of the hub, models--USER--REPO/snapshots/COMMIT, the folder of the repository has the name.
    names = {_last(str(folder)), _last(given.removeprefix(HUB)), _last(str(said))}
    names |= {_last(part.replace("--", "/")) for part in folder.parts if "--" in part}
    if _last(named) not in names:
        raise BridgeError(
            f"The adapter was trained on {named}, and the option base names {given}.",
            cause="Models with weights of the same shapes may differ, as an instruct model and its base model do.",
            remedy=f"Use base={named}; if this is the same model under another name, set any_base=true.",
        )


def _last(name: str) -> str:
    """Return the last part of a name; of a folder whose own name says nothing, its parent's as well."""
    *before, last = name.rstrip("/").casefold().split("/")
    return f"{before[-1]}/{last}" if before and NO_NAME.fullmatch(last) else last
