"""What is published: readers of activations for public models, as data that any package may add to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import final

HUB = re.compile(r"=hub:([^,]+)")


@final
@dataclass(frozen=True)
class KnownReader:
    """A published reader of one model's activations; nothing of it need be on this machine.

    Attributes:
        name: Unique among known readers.
        model: Hub id of the model whose activations it reads.
        sites: Where it reads them, as in a reference; the first is taken where a reference names none.
        verbalizer: What runs it, as in `nla:checkpoint=hub:user/repo,ar=hub:user/other`.
        base: Hub id of the model that its adapter is put on; empty for a whole checkpoint.
        reconstructs: Whether it has a way back from its text to an activation.
        asks: Whether it answers questions, and says nothing without one.
        gigabytes: What its weights take in bfloat16, that of its base and its way back included; 0 if not known.
        extra: Extra of this package that it needs, as `serve` for a reader on a server; empty for none.
        source: Address of the page or file that these facts are from.
    """

    name: str
    model: str
    sites: tuple[str, ...]
    verbalizer: str
    base: str = ""
    reconstructs: bool = False
    asks: bool = False
    gigabytes: float = 0.0
    extra: str = ""
    source: str = ""

    @property
    def weights(self) -> tuple[str, ...]:
        """Return the hub ids of what it needs, its base last.

        Returns:
            `user/repo`, or `user/repo/folder` for a part of one.
        """
        return tuple(HUB.findall(self.verbalizer)) + ((self.base,) if self.base else ())
