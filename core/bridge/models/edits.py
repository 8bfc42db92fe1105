"""Edits of activations: one text's own, and those of a batch whose texts each have their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bridge.references import Site

if TYPE_CHECKING:
    from torch import Tensor

    Edit = Callable[[Tensor], Tensor]
    Edits = Mapping[Site, Edit]
    Span = tuple[int, int, Edits]


def together(texts: Sequence[Sequence[Span]]) -> dict[Site, Edit]:
    """Return the edits of a batch, (texts, tokens, d_model) -> the same shape, that do what its texts' own do.

    Args:
        texts: For each text, in turn: from where, to where, and which edits are handed (1, to - from, d_model) of it.
    """

    def at(site: Site) -> Edit:
        """Return what all texts' spans do at one site."""
        placed = [
            (row, start, end, own[site]) for row, spans in enumerate(texts) for start, end, own in spans if site in own
        ]

        def edit(value: Tensor) -> Tensor:
            for row, start, end, change in placed:
                value[row : row + 1, start:end] = change(value[row : row + 1, start:end])
            return value

        return edit

    return {site: at(site) for site in {site for spans in texts for _, _, own in spans for site in own}}
