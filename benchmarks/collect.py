"""Tokens per second of collection, against the bare forward pass and two naive ways; and whether memory stays flat.

`bridge.collect` is timed whole: tokenizing, batching, the traced forward pass, hashing, writing to the store. The
others are handed bridge's own batches, cut and padded, and only run them and copy the kept rows out. `in_turn` is
bridge's own worker, which writes each shard before it runs the next one: what overlapping them gains.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.collect import Collector, CollectSettings, activations_artifact, collect
from bridge.corpus import BUNDLED, Corpus, Document, load_corpus
from bridge.corpus import shards as cut
from bridge.corpus.shards import shards
from bridge.models import LoadedModel, Placement
from bridge.pairing import Encoded
from bridge.pipeline.plan.runtime import open_runtime
from bridge.progress import Silent
from bridge.references import Site
from bridge.store import Store
from fit import memory_at, peak_mebibytes, show, spread

if TYPE_CHECKING:
    from torch import Tensor

TARGETS: dict[str, float | None] = {
    "truncated": 0.98,
    "in_turn": None,
    "hidden_states": 1.4,
    "per_text": None,
    "per_text_stopped": None,
}
"""Least speed of bridge in multiples of each way's. One trace a text has none: what can be gained over it is the
truncated pass's own ratio to it, `limit`, which depends on how well a processor likes small batches."""


class Recorder:
    """A model that remembers the batches it was run on, with the positions that collection keeps."""

    def __init__(self, model: LoadedModel) -> None:
        self.model, self.name, self.d_model = model, model.name, model.d_model
        self.batches: list[tuple[Tensor, Tensor, list[Any]]] = []
        self._kept: dict[bytes, Any] = {}

    def encode(self, documents: Sequence[Document], max_tokens: int) -> list[Encoded]:
        """Cut documents into tokens."""
        encoded = self.model.encode(documents, max_tokens)
        self._kept |= {one.ids.tobytes(): one.kept for one in encoded}
        return encoded

    def activations(self, ids: Tensor, mask: Tensor, sites: Sequence[Site]) -> list[Tensor]:
        """Run a batch and remember it."""
        kept = [self._kept[row[:n].numpy().tobytes()] for row, n in zip(ids, mask.sum(1).tolist(), strict=True)]
        self.batches.append((ids, mask, kept))
        return self.model.activations(ids, mask, sites)


class Stop(Exception):
    """Ends a forward pass from within."""


class Ways:
    """The ways to get the same rows; making one is the warm-up of bridge's own."""

    def __init__(self, model: LoadedModel, site: Site, corpus: Corpus, settings: CollectSettings) -> None:
        self.model, self.site, self.corpus, self.settings = model, site, corpus, settings
        self.path = model.layout.locate(site)[0]
        self.device = next(model.module.parameters()).device
        recorder = Recorder(model)
        _, self.norms = run_collect(recorder, site, corpus, settings)
        self.batches = recorder.batches
        self.tokens = sum(int(mask.sum()) for _, mask, _ in self.batches)

    def truncated(self) -> Tensor:
        """Run a bare forward pass that a hook ends after the block: the physical limit."""
        caught: list[Tensor] = []

        def hook(module: Any, args: Any, output: Any) -> None:
            caught.append(output[0] if isinstance(output, tuple) else output)
            raise Stop

        def forward(ids: Tensor, mask: Tensor) -> Tensor:
            try:
                self.model.module(input_ids=ids, attention_mask=mask, use_cache=False)
            except Stop:
                return caught.pop()
            raise RuntimeError("The hook was never reached.")

        handle = self.model.module.get_submodule(self.path).register_forward_hook(hook)
        try:
            return self._rows(forward)
        finally:
            handle.remove()

    def hidden_states(self) -> Tensor:
        """Run all blocks with `output_hidden_states=True`; without the head, which would cost more still."""

        def forward(ids: Tensor, mask: Tensor) -> Tensor:
            output = self.model.module.base_model(
                input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True
            )
            rows: Tensor = output.hidden_states[self.site.layer + 1]
            return rows

        return self._rows(forward)

    def per_text(self, stop: bool = False) -> Tensor:
        """Open one nnsight trace a text: as its tutorials do, the whole model; or stopped at the site."""
        from nnsight import NNsight

        traced = NNsight(self.model.module)
        envoy = traced.get(self.path)

        def one(ids: Tensor) -> Tensor:
            with traced.trace(input_ids=ids, use_cache=False) as tracer:
                saved = envoy.output.save()
                if stop:
                    tracer.stop()
            return (saved[0] if isinstance(saved, tuple) else saved)[0]

        def forward(ids: Tensor, mask: Tensor) -> list[Tensor]:
            return [one(row[None, :n]) for row, n in zip(ids, mask.sum(1).tolist(), strict=True)]

        return self._rows(forward)

    def per_text_stopped(self) -> Tensor:
        """Open one nnsight trace a text and stop it at the site: what is left is the gain of batching alone."""
        return self.per_text(stop=True)

    def in_turn(self) -> None:
        """Collect without overlap."""
        run_collect(self.model, self.site, self.corpus, self.settings, overlap=False)

    def _rows(self, forward: Callable[[Tensor, Tensor], Any]) -> Tensor:
        import torch

        count = sum(len(positions) for *_, kept in self.batches for positions in kept)
        rows, start = torch.empty((count, self.model.d_model), dtype=getattr(torch, self.settings.dtype)), 0
        with torch.inference_mode():
            for ids, mask, kept in self.batches:
                outputs = forward(ids.to(self.device), mask.to(self.device))
                host = outputs.to("cpu") if isinstance(outputs, torch.Tensor) else [one.to("cpu") for one in outputs]
                for row, positions in zip(host, kept, strict=True):
                    rows[start : start + len(positions)] = row[positions]
                    start += len(positions)
        return rows


def run_collect(
    source: Any,
    site: Site,
    corpus: Corpus,
    settings: CollectSettings,
    overlap: bool = True,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, Tensor]:
    """Collect into an empty store; return seconds, and the norms of all rows in ascending order."""
    import torch

    with tempfile.TemporaryDirectory() as folder:
        artifact = activations_artifact(Store(Path(folder)), "benchmark", site, corpus, settings)
        start = clock()
        if overlap:
            collect(lambda: source, "benchmark", {site: artifact}, corpus, settings, Silent())
        else:
            collector = Collector(lambda: source, {site: artifact}, corpus, settings)
            for index in range(len(collector.chunks)):
                collector.collect_shard(index)
        seconds = clock() - start
        norms = torch.cat(
            [shard["norms"] for shard in map(artifact.read, range(len(shards(corpus, settings.max_tokens))))]
        )
    return seconds, norms.sort().values


def load(src: str, dtype: str) -> tuple[LoadedModel, Site]:
    """Load the model as `bridge run` does."""
    resolved = open_runtime().resolve(src)
    site = resolved.single_site()
    if site.point != "resid_post":
        raise SystemExit("This benchmark compares block outputs: name a site such as smollm2-135m@19.")
    return resolved.adapter.load(resolved.weights, Placement(dtype=dtype)), site


def measure_speed(
    model: LoadedModel,
    site: Site,
    corpus: Corpus,
    settings: CollectSettings,
    rounds: int,
    names: Sequence[str] = tuple(TARGETS),
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Time every way in turn, several rounds after a warm-up round, in one process."""
    import torch

    ways = Ways(model, site, corpus, settings)
    same = torch.equal(torch.linalg.vector_norm(ways.truncated().float(), dim=1).sort().values, ways.norms)
    for name in {"hidden_states", "per_text"} & set(names):
        getattr(ways, name)()
    seconds: dict[str, list[float]] = {"bridge": [], **{name: [] for name in names}}
    for round_ in range(rounds):
        # Another one first each time: a machine that slows down must not slow the same way every round.
        order = list(seconds)[round_ % len(seconds) :] + list(seconds)[: round_ % len(seconds)]
        for name in order:
            if name == "bridge":
                seconds[name].append(run_collect(model, site, corpus, settings, clock=clock)[0])
            else:
                start = clock()
                getattr(ways, name)()
                seconds[name].append(clock() - start)
    speeds = {name: spread([ways.tokens / one for one in values]) for name, values in seconds.items()}
    ratios = {}
    for name in names:
        target = TARGETS[name]
        pairs = zip(seconds[name], seconds["bridge"], strict=True)
        limits = zip(seconds[name], seconds["truncated"], strict=True)
        ratios[f"bridge / {name}"] = {
            **spread([other / own for other, own in pairs]),
            "limit": spread([other / bare for other, bare in limits])["median"],
            **({"target": target} if target else {}),
        }
    texts = {"documents": len(corpus.documents), "tokens": ways.tokens, "device": str(ways.device)}
    texts["shards"] = len(shards(corpus, settings.max_tokens))
    return {**texts, "same_rows_as_truncated": same, "tokens_per_second": speeds, "ratios": ratios}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--src", default="smollm2-135m@19", help="model and site")
    parser.add_argument("--corpus", default=BUNDLED, help="as bridge's own --corpus")
    parser.add_argument("--documents", type=int, default=300, help="texts to run the four ways on")
    parser.add_argument("--memory-documents", type=int, nargs="*", default=[300, 1200], help="none to skip")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpu-time", action="store_true", help="count processor time, on a busy machine")
    parser.add_argument("--ways", nargs="+", default=list(TARGETS), choices=TARGETS, help="`truncated` is always run")
    parser.add_argument("--dtype", nargs="+", default=["bfloat16", "float32"], choices=["bfloat16", "float32"])
    parser.add_argument("--shard-characters", type=int, default=cut.SHARD_CHARACTERS, help="smaller: more files")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    cut.SHARD_CHARACTERS = options.shard_characters
    corpus = load_corpus(options.corpus, max_documents=options.peak or options.documents)
    if options.peak:
        run_collect(*load(options.src, options.dtype[0]), corpus, CollectSettings(options.dtype[0], max_tokens=256))
        print(peak_mebibytes())
        return
    for dtype in options.dtype:
        model, site = load(options.src, dtype)
        names = list(dict.fromkeys(["truncated", *options.ways]))
        clock = time.process_time if options.cpu_time else time.perf_counter
        settings = CollectSettings(dtype, max_tokens=256)
        result = measure_speed(model, site, corpus, settings, options.rounds, names, clock)
        del model
        if options.memory_documents:
            same = ("--src", options.src, "--corpus", options.corpus, "--dtype", dtype)
            result["memory"] = memory_at(options.memory_documents, __file__, *same)
        show({"benchmark": "collect", "src": options.src, "dtype": dtype, **result}, options.json)


if __name__ == "__main__":
    main()
