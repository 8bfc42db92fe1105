"""The inputs of explaining besides a map: dictionary, verbalizers and washouts, found before any model runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from bridge.dictionaries import Dictionary
from bridge.pipeline.plan.groups import DictionaryOptions, VerbalizeOptions
from bridge.pipeline.plan.single import Side
from bridge.pipeline.plan.specs import build_washout
from bridge.pipeline.verbalize.find import find_verbalizer
from bridge.plugins.registry import Registry
from bridge.verbalizers import VerbalizerBackend, Washout


@final
@dataclass(frozen=True)
class VerbalizerSetup:
    """The inputs of explaining besides the map.

    Attributes:
        dictionary: The source's dictionary; None if only live activations are explained.
        drawn: Options for drawing its features.
        positions: Number of explained live activations.
        src: Name and kind of the source's verbalizer.
        dst: Name and kind of the destination's verbalizer.
        washouts: Washouts by name.
    """

    dictionary: Dictionary | None
    drawn: DictionaryOptions
    positions: int
    src: tuple[str, VerbalizerBackend]
    dst: tuple[str, VerbalizerBackend]
    washouts: Mapping[str, Washout]


def set_up_verbalizers(
    sides: tuple[Side, Side],
    asked: VerbalizeOptions,
    drawn: DictionaryOptions,
    dictionary: Dictionary | None,
    registry: Registry,
) -> VerbalizerSetup | None:
    """Find all inputs of explaining before the fit, so that errors are reported early.

    Args:
        sides: Source and destination.
        asked: Verbalizers, washouts, and the number of explained live activations.
        drawn: Reference of the dictionary, and options for drawing its features.
        dictionary: The source's dictionary, if there is one; its features are explained only if `drawn` names it.
        registry: Installed plugins.

    Returns:
        The inputs; None if nothing is explained.

    Raises:
        UsageError: If a verbalizer or washout is unknown.
        BridgeError: If a verbalizer is missing, or does not fit its model.
    """
    if not drawn.reference and not asked.positions:
        return None
    washouts = {text: build_washout(text) for text in asked.washout}
    found = []
    for text, side in zip((asked.src_verbalizer, asked.dst_verbalizer), sides, strict=True):
        named, kind = find_verbalizer(text, side.model, side.identity, registry)
        kind.preview(side.model.info.d_model)
        found.append((named, kind))
    explained = dictionary if drawn.reference else None
    return VerbalizerSetup(explained, drawn, asked.positions, found[0], found[1], washouts)
