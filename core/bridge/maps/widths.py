"""Refusals of rows and models of the wrong widths."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.errors import MapError, ShapeError
from bridge.maps.training_data import TrainingData


def check_width(rows: NDArray[np.floating], width: int, what: str) -> None:
    """Refuse rows that are not (n, width).

    Args:
        rows: What was given.
        width: Columns that it must have.
        what: What to call it in the message.

    Raises:
        ShapeError: Naming both shapes.
    """
    if rows.ndim != 2 or rows.shape[1] != width:
        raise ShapeError(f"{what} has shape {tuple(rows.shape)}; this map takes (n, {width}).")


def need_equal_widths(data: TrainingData, name: str) -> None:
    """Refuse models of different widths.

    Args:
        data: Rows of the two models.
        name: Of the map that needs it.

    Raises:
        MapError: Naming both widths.
    """
    refuse_unequal(data.d_src, data.d_dst, name)


def refuse_unequal(d_src: int, d_dst: int, name: str) -> None:
    """Refuse different widths, as `need_equal_widths`, before any rows exist; for use in `Map.check_widths`.

    Args:
        d_src: Width of the source model.
        d_dst: Width of the destination model.
        name: Of the map that needs it.

    Raises:
        MapError: Naming both widths.
    """
    if d_src != d_dst:
        raise MapError(
            f"The map {name} needs equal widths, and these models have {d_src} and {d_dst}.",
            remedy="Choose ridge or procrustes.",
        )
