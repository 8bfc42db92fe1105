"""The models that a reader and its reconstructor run in: each loaded once, a base model shared by both adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any, final

from bridge.errors import BridgeError, UsageError
from bridge.json_files import read_json
from bridge.models import Placement, TransformersTokenizer
from bridge.readers.adapters import add_adapter, use_adapter
from bridge.readers.loading import load_module, load_tokenizer
from bridge.readers.locate import HUB, locate
from bridge.readers.reader import Weights


@final
class Bodies:
    """Loads what is asked for, when it is asked for, and lets the adapter of who asks take part.

    Args:
        base: Folder or `hub:user/repo` of the base model that adapters are put on; empty for the one that they name.
        any_base: Take a base model of another name than the adapters name.
        placement: Where and how models are held.
    """

    def __init__(self, base: str, any_base: bool, placement: Placement) -> None:
        self._base, self._any_base, self._placement = base, any_base, placement
        self._modules: dict[Path, Any] = {}
        self._added: dict[Path, str] = {}

    def folder(self, weights: Weights) -> Path:
        """Return the folder of the checkpoint that weights are, or are put on.

        Raises:
            UsageError: If an adapter names no base model and none is given.
            BridgeError: If there is no such folder, or it is of another model.
        """
        if weights.folder:
            return weights.folder
        named = weights.adapter.base if weights.adapter else ""
        if not (self._base or named):
            raise UsageError(
                "The adapter names no base model.", remedy="Give it by the option base, as in base=FOLDER."
            )
        text = self._base or (named if Path(named).expanduser().is_dir() else f"{HUB}{named}")
        found = locate(text, "MODEL@SITE")
        if self._base and named and not self._any_base:
            check_base(found, self._base, named)
        return found

    def tokenizer(self, weights: Weights) -> TransformersTokenizer:
        """Load the tokenizer that goes with weights."""
        return load_tokenizer(weights.tokenizer or self.folder(weights))

    def module(self, weights: Weights, absent: tuple[str, ...] = ()) -> Any:
        """Return the model of some weights, with their adapter and no other taking part.

        Args:
            weights: Of a reader, or of a reconstructor.
            absent: Ends of the names of weights that a whole checkpoint need not have.
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
    """Refuse a base model of another name than an adapter was trained on.

    Args:
        folder: Where the base model lies.
        given: What the user called it.
        named: What the adapter calls it.

    Raises:
        BridgeError: If no name that it goes by is the adapter's.
    """
    config = folder / "config.json"
    said = read_json(config, dict[str, Any], "Fetch it again.").get("_name_or_path", "") if config.is_file() else ""
    # Of a hub's snapshot, models--USER--REPO/snapshots/COMMIT, the repository's.
    names = {_last(folder.name), _last(given), _last(str(said))}
    names |= {_last(part.replace("--", "/")) for part in folder.parts if "--" in part}
    if _last(named) not in names:
        raise BridgeError(
            f"The adapter was trained on {named}, and it is put on {given}.",
            cause="The two may differ in weights that have the same shape, as an instruct model and its base model do.",
            remedy=f"Give {named} by the option base; if it is the same under another name, say any_base=true.",
        )


def _last(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2].casefold()
