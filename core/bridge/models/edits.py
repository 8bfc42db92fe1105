"""Edits of activations: of one text, and of a batch in which each text has its own edits."""

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
    """Return the edits of a batch, (texts, tokens, d_model) -> the same shape, that apply each text's own edits.

    Args:
        texts: For each text, its spans in order: start, end, and the edits of (1, end - start, d_model) there.
    """

    def at(site: Site) -> Edit:
        """Return the edit of all texts' spans at one site."""
        placed = [
            (row, start, end, own[site]) for row, spans in enumerate(texts) for start, end, own in spans if site in own
        ]

        def edit(value: Tensor) -> Tensor:
            for row, start, end, change in placed:
                value[row : row + 1, start:end] = change(value[row : row + 1, start:end])
            return value

        return edit

    return {site: at(site) for site in {site for spans in texts for _, _, own in spans for site in own}}
