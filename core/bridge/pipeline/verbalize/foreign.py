"""Another model's verbalizer, borrowed: found, reached through a map, and the way back from its reconstructor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from bridge.pipeline.fit.bridge import Bridge
from bridge.pipeline.fit.cache import fitted_bridge
from bridge.pipeline.plan.gather import gather
from bridge.pipeline.plan.options import Options
from bridge.pipeline.plan.plan import Side, prepare
from bridge.pipeline.plan.provenance import versions
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.verbalize.cache import open_verbalizer
from bridge.pipeline.verbalize.find import find_verbalizer
from bridge.pipeline.verbalize.round_trip import rebuilt_from
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.verbalizers import Explanation, Verbalizer

Float32 = NDArray[np.float32]


@final
class ForeignVerbalizer:
    """The destination's verbalizer, as the source can use it.

    Args:
        options: The two models, and how the map between them is fitted where it is not in the cache. Both may be the
            same model at the same site: its own verbalizer then reads it, without a map.
        runtime: Plugins, store and progress.
        bridge: The map, where there is one already.

    Attributes:
        plan: The models, found but not loaded.
        bridge: The map; None where both models are the same.

    Raises:
        UsageError: If the destination has no verbalizer.
        BridgeError: As `prepare`, or if the map cannot be fitted.
    """

    def __init__(self, options: Options, runtime: Runtime, bridge: Bridge | None = None) -> None:
        self.runtime = runtime
        self.plan = prepare(options, runtime)
        # Found before the map is fitted: a verbalizer that is not there must not cost a fit.
        src, dst = self.plan.src, self.plan.dst
        self.named, self.kind = find_verbalizer(options.dst_verbalizer, dst.model, dst.identity, runtime.registry)
        same = (src.identity, src.model.single_site()) == (dst.identity, dst.model.single_site())
        self.bridge = None if same else bridge or fitted_bridge(self.plan, runtime)

    def subject(self, side: Side) -> ModelSubject:
        """Return one of the models with its texts; its activations are collected if they are not in the cache."""
        site = side.model.single_site()
        artifact = gather(self.plan, {"src": [site], "dst": []}, self.runtime)[0] if side is self.plan.src else {}
        artifact = artifact or gather(self.plan, {"src": [], "dst": [site]}, self.runtime)[1]
        return ModelSubject(self.plan, side, artifact[site])

    def open(self) -> Verbalizer:
        """Load the verbalizer."""
        return open_verbalizer(self.kind, self.named, self.subject(self.plan.dst), self.runtime.store)

    def explain(self, count: int, explain: Callable[[], list[Explanation]]) -> list[Explanation]:
        """Run an explanation of `count` vectors, and tell of it."""
        with self.runtime.progress.stage(f"explain by {self.plan.dst.model.name}", count, "vectors") as advance:
            explanations = explain()
            advance(count)
        return explanations

    def reconstruct(
        self, verbalizer: Verbalizer, explanations: Sequence[Explanation], points: Float32
    ) -> Float32 | None:
        """Return what the explanations stand for at the source, (n, d_src); None without a reconstructor."""
        rebuilt = rebuilt_from(verbalizer, explanations, points, self.named)
        if rebuilt is None or self.bridge is None:
            return rebuilt
        options = self.plan.options
        exchanged = {"src": options.dst, "dst": options.src}
        exchanged |= {"src_identity": options.dst_identity, "dst_identity": options.src_identity}
        back = fitted_bridge(prepare(options.model_copy(update=exchanged), self.runtime), self.runtime)
        return np.asarray(back(rebuilt), np.float32)

    def provenance(self) -> dict[str, Any]:
        """Return models, verbalizer, options and versions."""
        named = {"verbalizer": self.named, "options": self.plan.options.model_dump(), "versions": versions()}
        return {"src": self.plan.options.src, "dst": self.plan.options.dst, **named}
