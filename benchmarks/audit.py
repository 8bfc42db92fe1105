"""`bridge audit` of four pairs at every site, beside a plain loop that gets a few of its numbers for one cell.

    python benchmarks/audit.py

Both start from models and texts on this machine and activations that were collected before. bridge runs whole:
reading, pairing, four arms fitted both ways, all scorers, their controls and intervals: 74 numbers a cell. The loop is
handed paired rows in memory, fits one rotation, and measures five numbers without intervals, with as many threads as
bridge takes: EV (self, raw, mapped), and the loss recovered (raw, mapped) text by text.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bridge.corpus import Document
from bridge.corpus.split import HELD_OUT
from bridge.dictionaries import Dictionary
from bridge.models import LoadedModel
from bridge.pipeline.jobs.audit import ALL, Audit, audit
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.placement import placement_of
from bridge.pipeline.plan.plan import prepare
from bridge.pipeline.plan.runtime import open_runtime
from bridge.pipeline.plan.threads import threads_for
from bridge.pipeline.score.live_model import DOCUMENTS
from bridge.pipeline.transfer.dictionary_sets import Dictionaries, open_dictionaries
from bridge.references import expand_references
from fit import show, spread

if TYPE_CHECKING:
    from torch import Tensor, nn

TARGET_SECONDS, TARGET_DIFFERENCE = 60.0, 1e-3
ROTATION: dict[str, Any] = {"map": "procrustes:scaled=false"}

Floats = NDArray[np.float32]
Edit = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class Cell:
    """One pair of sites as the plain loop is handed it: training rows, held-out rows, dictionary, model and texts."""

    train: tuple[Floats, Floats]
    test: tuple[Floats, Floats]
    dictionary: Dictionary
    model: LoadedModel
    layer: nn.Module
    texts: list[Document]


def open_cell(src: str, dst: str) -> Cell:
    """Read what bridge has of one cell, into memory."""
    runtime = open_runtime()
    plan = prepare(make_options(src=src, dst=dst, **ROTATION), runtime)
    sides = plan.src.model.single_site(), plan.dst.model.single_site()
    left, right = gather(plan, {"src": [sides[0]], "dst": [sides[1]]}, runtime)
    rows = paired_rows(plan, left[sides[0]], right[sides[1]])
    train, test = (
        [block.take(~block.outlier) for block, _ in rows.blocks(lambda fold, held=held: (fold == HELD_OUT) == held)]
        for held in (False, True)
    )
    model = plan.dst.model.adapter.load(plan.dst.model.weights, placement_of(plan.options.models))
    held_out = np.flatnonzero(plan.folds == HELD_OUT)
    chosen = np.random.default_rng(plan.options.run.seed).permutation(held_out)[:DOCUMENTS]
    return Cell(
        (np.concatenate([block.x for block in train]), np.concatenate([block.y for block in train])),
        (np.concatenate([block.x for block in test]), np.concatenate([block.y for block in test])),
        open_dictionaries(plan, *sides, Dictionaries(), runtime).src,
        model,
        model.module.get_submodule(model.layout.locate(sides[1])[0]),
        [plan.corpus.documents[i] for i in chosen],
    )


def plain_loop(cell: Cell) -> dict[str, float]:
    """Fit a rotation with scipy, score it with scikit-learn, and run the model text by text with a hook."""
    import torch
    from scipy.linalg import orthogonal_procrustes
    from sklearn.metrics import r2_score

    (x, y), (x_test, y_test) = cell.train, cell.test
    m_x, m_y = x.mean(0), y.mean(0)
    rotation = orthogonal_procrustes(x - m_x, y - m_y)[0]

    def carry(rows: Floats) -> Floats:
        moved: Floats = (cell.dictionary.reconstruct((rows - m_y) @ rotation.T + m_x) - m_x) @ rotation + m_y
        return moved

    def ev(true: Floats, found: Floats) -> float:
        return float(r2_score(true, found, multioutput="variance_weighted"))

    found = {
        "sae_ev self": ev(x_test, cell.dictionary.reconstruct(x_test)),
        "sae_ev raw": ev(y_test, cell.dictionary.reconstruct(y_test)),
        "sae_ev mapped": ev(y_test, carry(y_test)),
    }
    as_it_is = text_by_text(cell, lambda rows: rows)
    zero = text_by_text(cell, torch.zeros_like)
    for arm, change in (("raw", cell.dictionary.reconstruct), ("mapped", carry)):
        patched = text_by_text(cell, lambda rows, change=change: torch.from_numpy(change(rows.float().numpy())))
        found[f"loss_recovered {arm}"] = (zero - patched) / (zero - as_it_is)
    return found


def text_by_text(cell: Cell, edit: Edit) -> float:
    """Return the summed loss of all texts, the layer's rows rewritten by a forward hook, BOS left alone."""
    import torch
    from torch.nn.functional import cross_entropy

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        changed = output.clone()
        changed[0, 1:] = edit(output[0, 1:]).to(output.dtype)
        return changed

    total = 0.0
    handle = cell.layer.register_forward_hook(hook)
    with torch.inference_mode():
        for text in cell.texts:
            ids = torch.from_numpy(cell.model.encode([text], 64)[0].ids)
            logits = cell.model.module(ids[None]).logits[0].float()
            total += float(cross_entropy(logits[1:-1], ids[2:], reduction="sum"))
    handle.remove()
    return total


def differences(result: Audit, dst: str, found: dict[str, float]) -> dict[str, float]:
    """Return how far the loop's numbers are from bridge's for the same cell."""
    ours = {f"{metric.name} {metric.arm}": metric.value for metric in result.metrics if metric.dst == dst}
    return {name: abs(value - ours[name]) for name, value in found.items()}


def timed(work: Callable[[], Any], seconds: dict[str, list[float]], name: str) -> Any:
    """Do some work, and note what it took on the clock and of the processor."""
    start = time.perf_counter(), time.process_time()
    result = work()
    seconds.setdefault(name, []).append(time.perf_counter() - start[0])
    seconds.setdefault(f"{name}, processor", []).append(time.process_time() - start[1])
    return result


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--src", default="dyck:seed0", help="source; one with dictionaries in its folder")
    parser.add_argument("--dst", default="dyck:seed1..4", help="targets")
    parser.add_argument("--site", default="1", help="the plain loop's cell, of the first target: a block's output")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    targets = expand_references(options.dst)
    one = f"{targets[0]}@{options.site}"
    # The warm-up of both: it also collects what is not in the cache yet.
    result = audit(make_options(src=options.src, dst=options.dst, **ROTATION), ALL)
    cell = open_cell(f"{options.src}@{options.site}", one)
    width = len(cell.test[1][0])
    n_cells = len({(metric.src, metric.dst) for metric in result.metrics})
    seconds: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        result = timed(
            lambda: audit(make_options(src=options.src, dst=options.dst, **ROTATION), ALL), seconds, "bridge"
        )
        with threads_for(width):
            found = timed(lambda: plain_loop(cell), seconds, "loop, one cell")
    ratios = [loop / (own / n_cells) for own, loop in zip(seconds["bridge"], seconds["loop, one cell"], strict=True)]
    show(
        {
            "benchmark": "audit",
            "cells": n_cells,
            "numbers a cell": len(result.metrics) / n_cells,
            "seconds": {name: spread(values) for name, values in seconds.items()},
            "target seconds": TARGET_SECONDS,
            "loop / bridge, a cell": spread(ratios),
            "difference": {**differences(result, one, found), "target": TARGET_DIFFERENCE},
        },
        options.json,
    )


if __name__ == "__main__":
    main()
