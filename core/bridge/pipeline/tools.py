"""What explaining needs besides a map: dictionary, verbalizers, washouts and a judge, found before anything is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from bridge.dictionaries import Dictionary
from bridge.pipeline.judge import load_judge
from bridge.pipeline.options import build_washout
from bridge.pipeline.prepare import Plan
from bridge.pipeline.verbalizers import find_verbalizer
from bridge.pipeline.workbench import Workbench
from bridge.scorers import Judge
from bridge.split import HELD_OUT
from bridge.verbalizers import VerbalizerBackend, Washout


@final
@dataclass(frozen=True)
class Tools:
    """What explaining needs besides the map.

    Attributes:
        dictionary: Of the source; None where only live activations are explained.
        src: What names the source's verbalizer, and its kind.
        dst: The same of the destination.
        washouts: By what names them.
        judge: Embeds explanations.
    """

    dictionary: Dictionary | None
    src: tuple[str, VerbalizerBackend]
    dst: tuple[str, VerbalizerBackend]
    washouts: Mapping[str, Washout]
    judge: Judge


def find_tools(plan: Plan, dictionary: Dictionary | None, bench: Workbench) -> Tools | None:
    """Find everything that explaining needs, before the long work: nothing that is wrong may cost a fit.

    Args:
        plan: What to explain.
        dictionary: The source's, where there is one; its features are explained where the plan names it.
        bench: Plugins and progress.

    Returns:
        The tools; None where nothing is to be explained.

    Raises:
        UsageError: If a verbalizer or washout is unknown.
        BridgeError: If a verbalizer is not there, or does not fit its model.
    """
    options, sides = plan.options, (plan.src, plan.dst)
    if not options.dictionary and not options.positions:
        return None
    washouts = {text: build_washout(text) for text in options.washout}
    found = []
    for text, side in zip((options.src_verbalizer, options.dst_verbalizer), sides, strict=True):
        named, kind = find_verbalizer(text, side.model, side.identity, bench.registry)
        kind.preview(side.model.info.d_model)
        found.append((named, kind))
    seen = (one.text for one, fold in zip(plan.corpus.documents, plan.folds, strict=True) if fold != HELD_OUT)
    explained = dictionary if options.dictionary else None
    return Tools(explained, found[0], found[1], washouts, load_judge(options.encoder, seen, options.seed))
