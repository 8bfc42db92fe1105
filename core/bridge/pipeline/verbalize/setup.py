"""What explaining needs besides a map: dictionary, verbalizers and washouts, found before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from bridge.dictionaries import Dictionary
from bridge.pipeline.plan.plan import Plan
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.specs import build_washout
from bridge.pipeline.verbalize.find import find_verbalizer
from bridge.verbalizers import VerbalizerBackend, Washout


@final
@dataclass(frozen=True)
class VerbalizerSetup:
    """What explaining needs besides the map.

    Attributes:
        dictionary: Of the source; None where only live activations are explained.
        src: What names the source's verbalizer, and its kind.
        dst: The same of the destination.
        washouts: By what names them.
    """

    dictionary: Dictionary | None
    src: tuple[str, VerbalizerBackend]
    dst: tuple[str, VerbalizerBackend]
    washouts: Mapping[str, Washout]


def set_up_verbalizers(plan: Plan, dictionary: Dictionary | None, runtime: Runtime) -> VerbalizerSetup | None:
    """Find everything that explaining needs, before the long work: nothing that is wrong may cost a fit.

    Args:
        plan: What to explain.
        dictionary: The source's, where there is one; its features are explained where the plan names it.
        runtime: Plugins and progress.

    Returns:
        The tools; None where nothing is to be explained.

    Raises:
        UsageError: If a verbalizer or washout is unknown.
        BridgeError: If a verbalizer is not there, or does not fit its model.
    """
    options, sides = plan.options, (plan.src, plan.dst)
    if not options.dictionary.reference and not options.verbalize.positions:
        return None
    washouts = {text: build_washout(text) for text in options.verbalize.washout}
    found = []
    for text, side in zip((options.verbalize.src_verbalizer, options.verbalize.dst_verbalizer), sides, strict=True):
        named, kind = find_verbalizer(text, side.model, side.identity, runtime.registry)
        kind.preview(side.model.info.d_model)
        found.append((named, kind))
    return VerbalizerSetup(dictionary if options.dictionary.reference else None, found[0], found[1], washouts)
