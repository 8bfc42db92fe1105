"""What a reader format is told to write a stand-in of one of its readers for a rehearsal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final


@final
@dataclass(frozen=True)
class ReaderStandIn:
    """A reader to stand in for.

    Attributes:
        base: Folder of the stand-in of the model whose activations it reads: whole, with a tokenizer.
        site: Where it reads them, as the real one's files name it, or as the reference does.
        d_model: Width of the stand-in's activations.
        reconstructor: Folder to write its reconstructor to, where the user named one beside the reader; None for where
            the format has it.
        real: Folder of the small files of the real one; None if they are not here.
    """

    base: Path
    site: str
    d_model: int
    reconstructor: Path | None = None
    real: Path | None = None
