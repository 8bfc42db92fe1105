"""The contract of reader formats: a format describes the reader in a folder; it runs no model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from bridge.errors import BridgeError, UsageError
from bridge.progress import Progress
from bridge.readers.reader import Reader
from bridge.readers.stand_in import ReaderStandIn
from bridge.verbalizers import Recipe, Subject


class ReaderFormat(ABC):
    """A layout of readers on disk. The host runs the readers as a verbalizer with the name of the format.

    Laws, checked by `bridge.testing.check_reader_format`:
        - A format recognises its own folders, and not an empty folder.
        - The same folder gives the same description.
        - A reader is recognised and described without its weights.
        - A folder with damaged files is refused with a `BridgeError`.
        - A stand-in is recognised, and its description has the width and the site that were asked for.
    """

    name: ClassVar[str]
    """Unique among installed formats, and among verbalizers."""

    summary: ClassVar[str]
    """One line about the readers of this format."""

    headers: ClassVar[tuple[str, ...]] = ("*.json", "*.yaml", "*.jinja", "*/*.json", "*/*.yaml", "*/*.jinja")
    """Patterns of the small files that `describe` reads; a preview fetches only these files from the hub."""

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Tell whether a folder has this format, from the names of its files and its small files.

        Args:
            folder: Any folder.
        """

    @abstractmethod
    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Describe a reader from its small files, without its weights.

        Args:
            folder: Folder of the reader.
            reconstructor: Folder of the reconstructor, if the user named one.

        Returns:
            The description of the reader.

        Raises:
            BridgeError: If a file is missing, damaged or incomplete, or has unknown keys that could change the meaning
                of the others.
        """

    def example(self, folder: Path) -> None:
        """Write the small files of a tiny reader in this format, without weights; the laws are tested on them.

        Args:
            folder: The folder to create.

        Raises:
            BridgeError: If the format has no example; its laws are then tested on a folder from the user.
        """
        raise BridgeError(f"The reader format {self.name} has no example.")

    def write_stand_in(self, folder: Path, like: ReaderStandIn) -> None:
        """Write a reader with random weights in this format, for rehearsals: whole, so that it can be run.

        Args:
            folder: To write; it does not exist yet.
            like: The model's stand-in, the site and width, and the small files of the real reader.

        Raises:
            BridgeError: If the format gives no stand-ins, or none of this model.
        """
        raise BridgeError(
            f"The reader format {self.name} gives no stand-ins.",
            cause="A format need not have them.",
            remedy="Implement ReaderFormat.write_stand_in in its plugin.",
        )

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train a reader of the subject and write it to a folder that `describe` reads; continue an interrupted run.

        Args:
            subject: The model and site whose activations the reader learns to explain.
            recipe: Options of the training.
            out: The folder to write.
            progress: Receives every stage.

        Returns:
            Measurements on held-out documents and their baselines, as JSON.

        Raises:
            UsageError: If readers of this format cannot be trained.
        """
        raise UsageError(
            f"Readers of the format {self.name} cannot be trained.",
            remedy="Train a reader of another format: bridge verbalizer train --verbalizer nla.",
        )


def refuse_unknown(found: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse unknown keys, because they could change the meaning of the others.

    Args:
        found: The keys in a file, or in a part of it.
        known: Keys that the format reads, and keys that are known to be irrelevant.
        what: Name of the file in the message.

    Raises:
        BridgeError: The message names the unknown keys.
    """
    unknown = sorted(set(map(str, found)) - set(known))
    if unknown:
        raise BridgeError(
            f"{what} has unknown keys: {', '.join(unknown)}.",
            cause="A newer version or another trainer wrote it; unknown keys may change how vectors are read.",
            remedy="Upgrade residual-bridge, or the plugin with this format.",
        )
