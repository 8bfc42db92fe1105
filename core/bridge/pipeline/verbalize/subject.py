"""The subject of verbalizers: a model, and its texts with their activations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import final

import numpy as np

from bridge.corpus.shards import shards
from bridge.corpus.split import HELD_OUT
from bridge.models import LoadedModel
from bridge.models.quantize import FULL, described
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.plan.self_check import load_checked
from bridge.pipeline.plan.single import ModelPlan
from bridge.store import Artifact, canonical_json
from bridge.verbalizers import Passage, Subject


@final
class ModelSubject(Subject):
    """A planned model at one site.

    Args:
        plan: The model, the corpus, its split, and its reading options.
        artifact: Its collected activations.
        runtime: The store, where a loaded model is known again.
    """

    def __init__(self, plan: ModelPlan, artifact: Artifact, runtime: Runtime) -> None:
        side = plan.side
        self.site = side.model.single_site()
        self.name = side.model.label(self.site)
        self.d_model, self.n_layers = side.model.info.d_model, side.model.info.n_layers
        self.placement, self.seed = placement_of(plan.models), plan.seed
        source = f" {canonical_json(side.source)}" if side.source else ""
        self.identity = f"{side.identity} {plan.corpus.identity}{source}"
        if side.quantize != FULL:
            self.identity += f" {described(side.quantize)}"
        self.plan, self.store = plan, runtime.store
        self._side, self._artifact, self._runtime = side, artifact, runtime

    def load(self) -> LoadedModel:
        """Load the model itself, and check it."""
        return load_checked(self._side, self.plan.models, self._runtime)

    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        """Stream over the texts and their activations, outliers and the first positions left out."""
        reading, corpus = self.plan.reading, self.plan.corpus
        longest = reading.outlier_factor * self._median_norm()
        for shard, chunk in enumerate(shards(corpus, reading.max_tokens)):
            wanted = [(self.plan.folds[index] == HELD_OUT) == held_out for index in chunk]
            if not any(wanted):
                continue
            stored = self._artifact.read(shard)
            documents = [corpus.documents[index] for index in chunk]
            start = 0
            for document, encoded, want in zip(
                documents, self._side.tokenizer.encode(documents, reading.max_tokens), wanted, strict=True
            ):
                rows = np.arange(start, start + len(encoded.kept))
                start += len(encoded.kept)
                typical = stored["norms"][rows].numpy() <= longest
                chosen = typical & (np.arange(len(rows)) >= reading.skip)
                if want and chosen.any():
                    x = stored["rows"][rows[chosen]].float().numpy()
                    yield Passage(document, encoded.ends[encoded.kept[chosen]], x)

    def _median_norm(self) -> float:
        count = len(list(shards(self.plan.corpus, self.plan.reading.max_tokens)))
        return float(np.median(np.concatenate([self._artifact.read(shard)["norms"].numpy() for shard in range(count)])))
