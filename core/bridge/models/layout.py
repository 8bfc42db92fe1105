"""Where the sites of a model are: module paths, and whether to read what goes in or what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from bridge.errors import UsageError
from bridge.references import POINTS, Site


@final
@dataclass(frozen=True)
class Location:
    """One end of a module.

    Attributes:
        module: Path relative to the block (`self_attn`), empty for the block itself.
        side: Its first input, or its output (the first one, where it returns several).
    """

    module: str
    side: Literal["input", "output"]


@final
@dataclass(frozen=True)
class Layout:
    """Where the points of every block are.

    Attributes:
        blocks: Path of the module list that holds the blocks (`model.layers`).
        points: For each point the family has, where it is. Points are of the residual stream or are what a part
            *adds* to it: in a family with norms after attention, `attn_out` is the norm's output.
        elsewhere: By number of the block, the points that are at another place in it: a model that mixes linear and
            full attention has `attn_out` in two modules. Every block has the same points, those of `points`.
    """

    blocks: str
    points: Mapping[str, Location]
    elsewhere: Mapping[int, Mapping[str, Location]] = field(default_factory=dict)

    def locate(self, site: Site) -> tuple[str, Literal["input", "output"]]:
        """Return the module path and side of a site.

        Args:
            site: Block and point.

        Raises:
            UsageError: If this family has no such point, or the module is in none of its blocks.
        """
        if site.is_module:
            return self._module(site), "output"
        if site.point not in self.points:
            known = [point for point in POINTS if point in self.points]
            raise UsageError(
                f"This model has no {site.point}.",
                cause="Its blocks add attention and MLP to the stream in another way, or under names not known here.",
                remedy=f"Choose one of {', '.join(known)}.",
            )
        location = self.elsewhere.get(site.layer, {}).get(site.point, self.points[site.point])
        block = f"{self.blocks}.{site.layer}"
        return f"{block}.{location.module}" if location.module else block, location.side

    def kinds(self) -> list[int]:
        """Return the first block of each kind, those being of one kind whose points are at the same places."""
        first: dict[tuple[tuple[str, Location], ...], int] = {(): 0}
        for layer, places in sorted(self.elsewhere.items()):
            first.setdefault(tuple(sorted(places.items(), key=lambda place: place[0])), layer)
        return sorted(first.values())

    def point_of(self, site: Site) -> Site:
        """Return a module's site by the name of the point that is this module's output; itself where none is.

        Args:
            site: As `layers.5.mlp`, which is `5.mlp_out` where no norm stands between that module and the stream.

        Returns:
            The site.

        Raises:
            UsageError: If the module is in none of the blocks.
        """
        if not site.is_module:
            return site
        place = self.locate(site)
        named = (Site(site.layer, point) for point in self.points)
        return next((one for one in named if self.locate(one) == place), site)

    def _module(self, site: Site) -> str:
        head, _, tail = f"{site.point}.".partition(f".{site.layer}.")
        if not f".{self.blocks}".endswith(f".{head}"):
            raise UsageError(
                f"{site.point} is in no block of this model: its blocks are {self.blocks}.",
                cause="Only modules of the blocks that read text have one activation a token.",
                remedy=f"Write {self.blocks}.{site.layer} and the module's path in the block.",
            )
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
        ValueError: If there is none, or they differ in the module list or in which points they have.
    """
    if not layouts or any(
        (one.blocks, set(one.points)) != (layouts[0].blocks, set(layouts[0].points)) for one in layouts
    ):
        raise ValueError("mixed() takes one layout a block, all of one module list and with the same points")
    points = layouts[0].points
    apart = {
        layer: {point: place for point, place in one.points.items() if place != points[point]}
        for layer, one in enumerate(layouts)
    }
    return Layout(layouts[0].blocks, points, {layer: places for layer, places in apart.items() if places})
