"""Foreign verbalizers: finding them, using them through a map, and moving reconstructions back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.errors import UsageError
from bridge.models.resolve import ResolvedModel
from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.fit.cache import fitted_bridge
from bridge.pipeline.plan.gather import gather_model
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.provenance import VERBALIZER_NOTES, said, versions
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.self_check import with_untrained
from bridge.pipeline.plan.single import ModelPlan, find_side, prepare_model
from bridge.pipeline.plan.specs import build_map
from bridge.pipeline.verbalize.cache import tell_notes
from bridge.pipeline.verbalize.divided import DividedVerbalizer, opened
from bridge.pipeline.verbalize.find import find_verbalizer
from bridge.pipeline.verbalize.published import ask_remedy, best_reader, readers_of
from bridge.pipeline.verbalize.round_trip import rebuilt_from
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.verbalizers import Explanation, Verbalizer

Float32 = NDArray[np.float32]


@final
class ForeignVerbalizer:
    """The destination's verbalizer, for use by the source.

    Args:
        options: The two models, and the options for fitting the map if it is not in the cache. Both may be the same
            model at the same site: its own verbalizer then explains it, without a map.
        runtime: Plugins, store and progress.
        bridge: The map, if already fitted.
    asked: Whether a question comes with the vectors: a published reader that takes questions is then preferred.

    Attributes:
        src: The source, resolved but not loaded.
        dst: The destination, resolved but not loaded.
        options: The options, with identities pinned.
        bridge: The map; None if both models are the same.

    Raises:
        UsageError: If the destination has no verbalizer.
        BridgeError: As `prepare`, or if the map cannot be fitted.
    """

    def __init__(
        self, options: Options, runtime: Runtime, bridge: Bridge | None = None, *, asked: bool = False
    ) -> None:
        self.runtime, self.bridge = runtime, bridge
        options = with_reader(options, runtime, asked=asked)
        plan = None if _same_model(options, runtime) else prepare(options, runtime)
        if plan:
            self.options, self.src, self.dst = plan.options, plan.of_src, plan.of_dst
        else:
            self.options, self.src = _own(options, runtime)
            self.dst = self.src
        # Find the verbalizer before fitting, so that a missing verbalizer is reported early.
        side, text = self.dst.side, options.verbalize.dst_verbalizer
        self.named, self.kind = find_verbalizer(text, side.model, side.identity, runtime.registry)
        self.bridge = (bridge or fitted_bridge(plan, runtime)) if plan else None

    def subject(self, plan: ModelPlan) -> ModelSubject:
        """Return one of the models with its texts; its activations are collected if they are not in the cache."""
        site = plan.side.model.single_site()
        return ModelSubject(plan, gather_model(plan, [site], self.runtime)[site], self.runtime)

    def open(self) -> AbstractContextManager[DividedVerbalizer]:
        """Open the verbalizer."""
        return opened(self.kind, self.named, self.subject(self.dst), self.runtime)

    def explain(
        self, verbalizer: DividedVerbalizer, count: int, explain: Callable[[], list[Explanation]]
    ) -> list[Explanation]:
        """Run an explanation of `count` vectors, and report the progress."""
        stage = self.runtime.progress.stage(f"explain by {self.dst.side.model.name}", count, "vectors")
        with stage as advance, verbalizer.counted(advance):
            return explain()

    def reconstruct(
        self, verbalizer: Verbalizer, explanations: Sequence[Explanation], points: Float32
    ) -> Float32 | None:
        """Return the source activations reconstructed from explanations, (n, d_src); None without a reconstructor."""
        rebuilt = rebuilt_from(verbalizer, explanations, points, self.named)
        if rebuilt is None or self.bridge is None:
            return rebuilt
        if self.bridge.fitted_back is not None:
            return np.asarray(self.bridge.fitted_back(rebuilt), np.float32)
        options = self.options
        exchanged = {"src": options.models.dst, "dst": options.models.src}
        exchanged |= {"src_identity": options.models.dst_identity, "dst_identity": options.models.src_identity}
        exchanged["src_activations"] = options.models.dst_activations
        exchanged["dst_activations"] = options.models.src_activations
        back = fitted_bridge(prepare(options.updated(**exchanged), self.runtime), self.runtime)
        return np.asarray(back(rebuilt), np.float32)

    def notes(self, verbalizer: Verbalizer) -> dict[str, list[str]]:
        """Show the verbalizer's notes after its last explanation; return them as an entry of the provenance."""
        return said(tell_notes(verbalizer, self.named, self.runtime.progress), VERBALIZER_NOTES)

    def provenance(self) -> dict[str, Any]:
        """Return models, verbalizer, options and versions."""
        named = {"verbalizer": self.named, "options": self.options.flat(), "versions": versions()}
        found = {"src": self.options.models.src, "dst": self.options.models.dst, **named} | said(self.src.remarks)
        return with_untrained(found, (self.src.side, self.dst.side), self.options.models, self.runtime)


def with_reader(options: Options, runtime: Runtime, *, asked: bool = False) -> Options:
    """Name the site that a published reader reads, where the destination names none, and tell which reader that is.

    Args:
        options: What was asked for.
        runtime: Plugins and progress.
        asked: Whether there is a question. A reader that takes one is then named, too: a model's own rarely does.

    Raises:
        UsageError: If there is no such model, or its published readers need a question and it names no site.
        ModelUnavailableError: If its configuration cannot be had.
    """
    if options.verbalize.dst_verbalizer or not options.models.dst:
        return options
    return with_reader_of(runtime.resolve(options.models.dst), options, runtime, asked=asked)


def with_reader_of(model: ResolvedModel, options: Options, runtime: Runtime, *, asked: bool = False) -> Options:
    """Do the same for a destination that was resolved.

    Raises:
        UsageError: As `with_reader`.
    """
    reader = None if model.site and not asked else best_reader(model, runtime.registry, asked=asked)
    if reader is None:
        if not model.site and (oracle := best_reader(model, runtime.registry, asked=True)):
            raise UsageError(
                f"No published reader of {model.name} reads vectors without a question.",
                remedy=f"{ask_remedy(oracle)} Or name the layer of another verbalizer, as in {model.name}@LAYER.",
            )
        return options
    site = model.site or reader.sites[0]
    said = f"{model.name} is read at {site}, by {reader.name} ({reader.verbalizer})"
    others = [one.name for one in readers_of(model, runtime.registry) if one is not reader]
    runtime.progress.note(f"{said}; also known: {', '.join(others)}." if others else f"{said}.")
    named = {"dst": str(replace(model.reference, site=site))}
    return options.updated(**named | ({"dst_verbalizer": reader.verbalizer} if asked else {}))


def _same_model(options: Options, runtime: Runtime) -> bool:
    """Tell whether both models and sites are the same, so that the model's own verbalizer is used."""
    src, dst = runtime.resolve(options.models.src), runtime.resolve(options.models.dst)
    same = src.weights == dst.weights or src.weights.identity(runtime.store) == dst.weights.identity(runtime.store)
    return same and src.single_site() == dst.single_site()


def _own(options: Options, runtime: Runtime) -> tuple[Options, ModelPlan]:
    # Check also the model that is not needed here: a wrong name or other weights must be reported.
    build_map(options.map, runtime.registry)
    pinned, plan = prepare_model(options, runtime)
    asked = options.models
    find_side(plan.side.model, asked.dst_identity, asked.dst_activations, asked, plan.reading, runtime)
    return pinned.updated(dst=pinned.models.src, dst_identity=pinned.models.src_identity), plan
