"""Tokens per second of collection by Ray workers on this machine, against one process with all threads.

The whole `gather_model` is timed into an empty store, over a short corpus and over a longer one, in turn. Speeds are of
the difference, so that starting workers and loading models, which a long collection does once, does not count; the time
of the short one is printed beside.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.corpus.documents import Corpus
from bridge.corpus.shards import shards
from bridge.pipeline.plan.gather import gather_model
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.pipeline.plan.single import ModelPlan, prepare_model
from bridge.store import Store
from fit import show, spread

CORES = os.cpu_count() or 1
WAYS = {
    "one process": "local",
    "one worker": f"ray:workers=1,cpus={CORES}",
    "workers of one core": f"ray:workers={CORES},cpus=1",
}
TARGETS = {"one worker": 0.95, "workers of one core": 0.9}
"""Least speed in multiples of one process's."""


def seconds(plan: ModelPlan, runtime: Runtime, engine: str) -> float:
    """Collect into an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        asked = plan.models.model_copy(update={"engine": engine})
        start = time.perf_counter()
        here = Runtime(runtime.registry, Store(Path(folder)))
        side = replace(plan.side, store=here.store)
        gather_model(replace(plan, models=asked, side=side), [plan.side.model.single_site()], here)
        return time.perf_counter() - start


def cut(plan: ModelPlan, count: int) -> tuple[ModelPlan, int]:
    """Return the plan over the first shards of its corpus, and their number of tokens."""
    last = shards(plan.corpus, plan.reading.max_tokens)[count - 1].stop
    corpus = Corpus(plan.corpus.name, plan.corpus.documents[:last])
    encoded = plan.side.tokenizer.encode(corpus.documents, plan.reading.max_tokens)
    return replace(plan, corpus=corpus, folds=plan.folds[:last]), sum(len(one.ids) for one in encoded)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--src", default="smollm2-135m@4", help="model and site")
    parser.add_argument("--dtype", default="float32", choices=["bfloat16", "float32"])
    parser.add_argument("--shards", type=int, nargs=2, default=[CORES, 4 * CORES], help="of the short and long corpus")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    runtime = open_runtime()
    _, plan = prepare_model(make_options(src=asked.src, corpus="english", dtype=asked.dtype), runtime)
    (short, few), (long, many) = (cut(plan, count) for count in asked.shards)
    for engine in WAYS.values():  # files into memory, and Ray started
        seconds(short, runtime, engine)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for round_ in range(asked.rounds):
        order = list(WAYS)[round_ % len(WAYS) :] + list(WAYS)[: round_ % len(WAYS)]
        for name in order:
            found[name].append(tuple(seconds(one, runtime, WAYS[name]) for one in (short, long)))  # type: ignore[arg-type]
    speeds = {name: [(many - few) / (b - a) for a, b in pairs] for name, pairs in found.items()}
    ratios: dict[str, Any] = {
        f"{name} / one process": {
            **spread([own / other for own, other in zip(speeds[name], speeds["one process"], strict=True)]),
            "target": target,
        }
        for name, target in TARGETS.items()
    }
    starts = {name: spread([a for a, _ in pairs]) for name, pairs in found.items()}
    show(
        {
            "benchmark": "engines",
            "src": asked.src,
            "dtype": asked.dtype,
            "cores": CORES,
            "tokens": [few, many],
            "tokens_per_second": {name: spread(values) for name, values in speeds.items()},
            "seconds_of_the_short_one": starts,
            "ratios": ratios,
        },
        asked.json,
    )


if __name__ == "__main__":
    main()
