"""A subject for verbalizers: a family's tiny random checkpoint, run on a few texts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import final

from bridge.corpus.read import BUNDLED, load_corpus
from bridge.models import LoadedModel, ModelAdapter, Placement, Weights
from bridge.plugins.discovery import discover
from bridge.references import Site
from bridge.verbalizers import Passage, Subject

DOCUMENTS, MAX_TOKENS = 40, 32


@final
class TinySubject(Subject):
    """A model in float32 on the CPU, at its middle block, with 40 texts of 32 tokens at most, every fifth held out.

    Args:
        adapter: The family; its first tiny checkpoint is the model, and its own corpus, if it has one, the texts.
        folder: A folder where its checkpoints can be written.
    """

    def __init__(self, adapter: ModelAdapter, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._adapter, path = adapter, adapter.write_tiny_checkpoints(folder)[0]
        self._weights = Weights(str(path))
        info = adapter.describe(self._weights)
        self.d_model, self.n_layers = info.d_model, info.n_layers
        self.site = Site(info.n_layers // 2)
        self.name = f"{path}@{self.site}"
        self.placement, self.seed = Placement("cpu", "float32"), 0
        self._passages = list(self._run())

    def load(self) -> LoadedModel:
        """Load the model.

        Returns:
            The tiny model.
        """
        return self._adapter.load(self._weights, self.placement)

    def passages(self, held_out: bool = False) -> Iterator[Passage]:
        """Stream over the texts and their activations.

        Returns:
            One passage per text.
        """
        for index, passage in enumerate(self._passages):
            if (index % 5 == 0) == held_out:
                yield passage

    def _run(self) -> Iterator[Passage]:
        import torch

        model = self.load()
        named = discover().corpora
        documents = load_corpus(self._adapter.corpus() or BUNDLED, max_documents=DOCUMENTS, named=named).documents
        for document, encoded in zip(documents, model.encode(documents, MAX_TOKENS), strict=True):
            ids = torch.from_numpy(encoded.ids)[None]
            (x,) = model.activations(ids, torch.ones_like(ids), [self.site])
            yield Passage(document, encoded.ends[encoded.kept], x[0].numpy()[encoded.kept])
