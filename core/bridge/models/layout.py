"""Locations of a model's sites: module paths, and whether the input or the output is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from bridge.errors import UsageError
from bridge.models.streams import Streams
from bridge.references import POINTS, Site


@final
@dataclass(frozen=True)
class Location:
    """One end of a module.

    Attributes:
        module: Path relative to the block (`self_attn`), empty for the block itself.
        side: The module's first input, or its output (the first one if it returns several).
        streams: Position of several residual streams in the tensor; None for models with one stream.
    """

    module: str
    side: Literal["input", "output"]
    streams: Streams | None = None


@final
@dataclass(frozen=True)
class Layout:
    """Locations of the points of every block.

    Attributes:
        blocks: Path of the module list that holds the blocks (`model.layers`).
        points: The location of each point that the family has: one for all blocks, or one for
            each block if blocks name their parts differently. A point is the residual stream or the vector that a part
            *adds* to it: in a family with norms after attention, `attn_out` is the norm's output. `attn_out` belongs to
            the part that moves information between tokens: attention, a recurrence or a convolution.
    """

    blocks: str
    points: Mapping[str, Location | Sequence[Location]]

    def locate(self, site: Site) -> tuple[str, Literal["input", "output"]]:
        """Return the module path and side of a site.

        Args:
            site: Block and point.

        Raises:
            UsageError: If this family has no such point.
        """
        if site.is_module:
            return self._module(site), "output"
        location = self._location(site)
        block = f"{self.blocks}.{site.layer}"
        return f"{block}.{location.module}" if location.module else block, location.side

    def streams(self, site: Site) -> Streams | None:
        """Return the position of the streams at a site; None if the site is one tensor of the model's width.

        Args:
            site: Block and point.

        Raises:
            UsageError: If this family has no such point, or no such stream.
        """
        if site.is_module:
            return None
        streams = self._location(site).streams
        if site.stream and streams is None:
            raise UsageError(
                f"This model has no {site.point}: it has one residual stream.",
                remedy=f"Write {site.layer}.{site.place}.",
            )
        if site.stream and streams is not None and site.stream not in streams.names:
            raise UsageError(
                f"This model has no {site.point}: it has {streams.count} residual streams.",
                remedy=f"Choose one of {', '.join(f'{site.place}.{name}' for name in streams.names)}.",
            )
        return streams

    def kinds(self) -> list[int]:
        """Return the first block of each kind. Blocks are of one kind if their points are at the same places."""
        several = [places for places in self.points.values() if not isinstance(places, Location)]
        first: dict[tuple[Location, ...], int] = {}
        for layer, places in enumerate(zip(*several, strict=True)):
            first.setdefault(places, layer)
        return list(first.values()) or [0]

    def point_of(self, site: Site) -> Site:
        """Return a module's site under the name of the point that is this module's output.

        Args:
            site: A site such as `layers.5.mlp`, which is `5.mlp_out` if no norm stands between that module and the
                stream.

        Returns:
            The site; unchanged if the module's output is no point.
        """
        if not site.is_module or site.layer < 0:
            return site
        place = self.locate(site)
        named = (Site(site.layer, point) for point in self.points)
        return next((one for one in named if self.locate(one) == place), site)

    def _location(self, site: Site) -> Location:
        if site.place not in self.points:
            known = [point for point in POINTS if point in self.points]
            raise UsageError(
                f"This model has no {site.place}.",
                cause="Its blocks add attention and MLP to the stream in another way, or under names not known here.",
                remedy=f"Choose one of {', '.join(known)}.",
            )
        return self.at(site.place, site.layer)

    def at(self, point: str, layer: int) -> Location:
        """Return the location of a point in one block.

        Args:
            point: One of `points`.
            layer: Index of the block, from 0.

        Returns:
            The location.
        """
        places = self.points[point]
        return places if isinstance(places, Location) else places[layer]

    def _module(self, site: Site) -> str:
        """Return the path of a module: blocks may be named by the end of their list's path, others by their own."""
        head, found, tail = f"{site.point}.".partition(f".{site.layer}.")
        if not found or not f".{self.blocks}".endswith(f".{head}"):
            return site.point
        return f"{self.blocks}.{site.layer}.{tail}".removesuffix(".")


def sequential(blocks: str, *, attn_out: str, resid_mid: str, mlp_out: str) -> Layout:
    """Layout of blocks that add attention first and then an MLP.

    Args:
        blocks: Path of the module list.
        attn_out: Module, relative to the block, whose output is added to the stream first.
        resid_mid: Module whose input is the stream between attention and MLP (the second norm).
        mlp_out: Module whose output is added to the stream second.

    Returns:
        The layout, which `ModelAdapter.layout` returns.
    """
    return Layout(
        blocks,
        {
            "resid_pre": Location("", "input"),
            "attn_out": Location(attn_out, "output"),
            "resid_mid": Location(resid_mid, "input"),
            "mlp_out": Location(mlp_out, "output"),
            "resid_post": Location("", "output"),
        },
    )


def parallel(blocks: str, *, attn_out: str, mlp_out: str) -> Layout:
    """Layout of blocks whose attention and MLP read the same input (no `resid_mid`), as in GPT-NeoX.

    Args:
        blocks: Path of the module list.
        attn_out: Module, relative to the block, whose output attention adds.
        mlp_out: Module whose output the MLP adds.

    Returns:
        The layout, which `ModelAdapter.layout` returns.
    """
    return Layout(
        blocks,
        {
            "resid_pre": Location("", "input"),
            "attn_out": Location(attn_out, "output"),
            "mlp_out": Location(mlp_out, "output"),
            "resid_post": Location("", "output"),
        },
    )


def mixed(layouts: Sequence[Layout]) -> Layout:
    """Layout of blocks of several kinds, whose parts have other names in each.

    Args:
        layouts: For each block the layout of its kind, in the order of the blocks; all of one module list, and with the
            same points.

    Returns:
        The layout, which `ModelAdapter.layout` returns.

    Raises:
        ValueError: If the list is empty, or the layouts differ in the module list or in their points.
    """
    if not layouts or any(
        (one.blocks, set(one.points)) != (layouts[0].blocks, set(layouts[0].points)) for one in layouts
    ):
        raise ValueError("mixed() takes one layout a block, all of one module list and with the same points")
    points = {}
    for point in layouts[0].points:
        each = tuple(one.at(point, layer) for layer, one in enumerate(layouts))
        points[point] = each[0] if len(set(each)) == 1 else each
    return Layout(layouts[0].blocks, points)
