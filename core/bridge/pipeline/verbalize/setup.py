"""What explaining needs besides a map: dictionary, verbalizers and washouts, found before anything is run."""

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
    """What explaining needs besides the map.

    Attributes:
        dictionary: Of the source; None where only live activations are explained.
        drawn: Which of its features are explained.
        positions: How many live activations are explained.
        src: What names the source's verbalizer, and its kind.
        dst: The same of the destination.
        washouts: By what names them.
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
    """Find everything that explaining needs, before the long work: nothing that is wrong may cost a fit.

    Args:
        sides: Source and destination.
        asked: Verbalizers, washouts, and how many live activations are explained.
        drawn: What names the dictionary, and which of its features are explained.
        dictionary: The source's, where there is one; its features are explained where it was named.
        registry: Installed plugins.

    Returns:
        The tools; None where nothing is to be explained.

    Raises:
        UsageError: If a verbalizer or washout is unknown.
        BridgeError: If a verbalizer is not there, or does not fit its model.
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
