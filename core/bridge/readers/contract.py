"""The contract of reader formats: a format describes a reader that lies in a folder, and runs nothing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from bridge.errors import BridgeError, UsageError
from bridge.progress import Progress
from bridge.readers.reader import Reader
from bridge.verbalizers import Recipe, Subject


class ReaderFormat(ABC):
    """A layout of readers on disk. The host runs what it describes, as a verbalizer of the same name.

    Laws, checked by `bridge.testing.check_reader_format`:
        - A format recognises its own folders and no empty one.
        - The same folder gives the same description.
        - Weights are neither read nor needed to recognise and describe a reader.
        - A folder whose description is damaged is refused with a `BridgeError`.
    """

    name: ClassVar[str]
    """Unique among installed formats, and among verbalizers."""

    summary: ClassVar[str]
    """One line: whose readers these are."""

    headers: ClassVar[tuple[str, ...]] = ("*.json", "*.yaml", "*.jinja", "*/*.json", "*/*.yaml", "*/*.jinja")
    """Names of the small files that `describe` reads, as patterns: of a reader on the hub, a preview fetches these."""

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Tell whether a folder is in this format, from names and headers alone.

        Args:
            folder: That may hold a reader.
        """

    @abstractmethod
    def describe(self, folder: Path, reconstructor: Path | None = None) -> Reader:
        """Describe a reader from its small files; weights are neither read nor needed.

        Args:
            folder: That holds it.
            reconstructor: Folder of its reconstructor, where the user named one.

        Returns:
            The reader.

        Raises:
            BridgeError: If a file is missing or damaged, says less than is needed, or has keys that change meaning and
                are not known.
        """

    def example(self, folder: Path) -> None:
        """Write the small files of a tiny reader in this format, without weights, for the laws.

        Args:
            folder: To write; it is not there yet.

        Raises:
            BridgeError: If the format gives no example; its laws are then tried on a folder that is given.
        """
        raise BridgeError(f"The reader format {self.name} gives no example.")

    def train(self, subject: Subject, recipe: Recipe, out: Path, progress: Progress) -> dict[str, Any]:
        """Train a reader of the subject and write it to a folder that `describe` reads; resume what was interrupted.

        Args:
            subject: The model and site whose activations it learns to read.
            recipe: How to train.
            out: The folder to write.
            progress: Is told of every stage.

        Returns:
            What it measured on held-out documents, beside its baselines, as JSON.

        Raises:
            UsageError: If readers of this format are not trained here.
        """
        raise UsageError(
            f"Readers of the format {self.name} are not trained here.",
            remedy="Train one of another kind: bridge verbalizer train --verbalizer nla.",
        )


def refuse_unknown(found: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse keys that a format does not know: they may change what the rest means.

    Args:
        found: The keys of a file, or of a part of it.
        known: Those that the format reads, or knows to change nothing.
        what: What to call the file in the message.

    Raises:
        BridgeError: Naming them.
    """
    unknown = sorted(set(map(str, found)) - set(known))
    if unknown:
        raise BridgeError(
            f"{what} has {', '.join(unknown)}, which is not known here.",
            cause="It is of a newer version, or of a trainer of its own; what is not known may change how it reads.",
            remedy="Upgrade residual-bridge or the plugin that reads this format.",
        )
