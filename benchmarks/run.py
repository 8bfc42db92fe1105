"""`bridge run` from an empty cache, beside the sum of what it cannot do without.

    python benchmarks/run.py [EXPERIMENT.toml]

The floors are the bare forward passes of both models over bridge's own batches, cut off after the site; the steps of
both verbalizers and reconstructors, timed around their modules' own forward within the run; and the products of rows
that the map is fitted on. The first round of all is the warm-up: it loads the libraries.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from bridge.corpus.split import HELD_OUT
from bridge.models.dtype import AUTO
from bridge.pipeline.jobs.run import run
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import Options, make_options, read_toml
from bridge.pipeline.plan.placement import collect_settings, placement_of
from bridge.pipeline.plan.plan import Plan, prepare
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.plan.threads import threads_for
from bridge.report.html import REPORT, write_report
from collect import Ways
from fit import products, show, spread

TARGET = 1.3


@contextmanager
def timed_modules(seconds: dict[str, float]) -> Iterator[None]:
    """Add up the time that verbalizers and reconstructors spend in their modules' own forward."""

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*given, **named)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - start

        return wrapped

    import bridge.readers.decoding as decoding
    import bridge.readers.reconstructor as reconstructor

    with (
        mock.patch.object(decoding.Speaker, "_run", timed("decoding steps", decoding.Speaker._run)),
        mock.patch.object(reconstructor, "last_hidden", timed("reconstructions", reconstructor.last_hidden)),
    ):
        yield


def whole_run(options: Options) -> tuple[float, dict[str, float]]:
    """Run with nothing in the cache, report included; return its seconds, and those of its verbalizers' modules."""
    inside: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder, timed_modules(inside):
        os.environ["BRIDGE_CACHE_DIR"] = f"{folder}/cache"
        start = time.perf_counter()
        run(options, Path(folder) / "out")
        write_report([Path(folder) / "out"], Path(folder) / "out" / REPORT)
        return time.perf_counter() - start, inside


class Floors:
    """What is replayed outside the run: forward passes of both models, and the products of the fit."""

    def __init__(self, options: Options) -> None:
        runtime = open_runtime()
        self.plan: Plan = prepare(options, runtime)
        options, sides = self.plan.options, (self.plan.src, self.plan.dst)
        settings = collect_settings(options.models, options.corpus)
        self.ways = []
        for side in sides:
            model = side.model.adapter.load(side.model.weights, placement_of(self.plan.options.models))
            self.ways.append(Ways(model, side.model.single_site(), self.plan.corpus, settings))
        sites = [side.model.single_site() for side in sides]
        left, right = gather(self.plan, {"src": sites[:1], "dst": sites[1:]}, runtime)
        rows = paired_rows(self.plan, left[sites[0]], right[sites[1]])
        blocks = [block for block, _ in rows.blocks(lambda fold: fold != HELD_OUT)]
        self.x, self.y = (
            np.concatenate([getattr(one, side) for one in blocks]).astype(np.float64) for side in ("x", "y")
        )

    def measure(self) -> dict[str, float]:
        """Time each once."""
        found: dict[str, float] = {}
        for name, work in (
            ("forward passes", lambda: [way.truncated() for way in self.ways]),
            ("products", lambda: products(self.x, self.y)),
        ):
            start = time.perf_counter()
            work()
            found[name] = time.perf_counter() - start
        return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    demo = Path(str(resources.files("bridge").joinpath("data/demo.toml")))
    parser.add_argument("experiment", nargs="?", type=Path, default=demo, help="bridge's own demo by default")
    parser.add_argument("--dtype", nargs="+", default=[AUTO], choices=[AUTO, "bfloat16", "float32"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    for dtype in given.dtype:
        options = make_options(**read_toml(given.experiment) | {"dtype": dtype})
        whole_run(options)
        floors = Floors(options)
        seconds: dict[str, list[float]] = {}
        ratios = []
        for _ in range(given.rounds):
            whole, inside = whole_run(options)
            with threads_for(max(floors.plan.widths)):
                parts = floors.measure() | inside
            ratios.append(whole / sum(parts.values()))
            for name, value in ({"bridge run": whole} | parts).items():
                seconds.setdefault(name, []).append(value)
        result = {"seconds": {name: spread(values) for name, values in seconds.items()}}
        chosen = floors.plan.options.models.dtype
        show(
            {"benchmark": "run", "dtype": chosen, **result, "run / floors": {**spread(ratios), "target": TARGET}},
            given.json,
        )


if __name__ == "__main__":
    main()
