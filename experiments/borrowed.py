"""How well a borrowed verbalizer reads live activations, beside both models' own verbalizers and a mispaired map.

    python experiments/borrowed.py experiments/smollm2-to-gemma.toml --positions 200

At positions of held-out documents drawn by seed, each verbalizer explains the activation there, and the explanation is
held to the text that led to it, its last 70 characters: cosine of sentence embeddings to the own text and to the other
positions' texts, retrieval@1 among all, and whether it ends in the text's last word; 95% intervals resample positions.
With a reconstructor also the round trip: cosine and FVE against always giving the mean activation, where it is read.
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bridge.cli.progress import TerminalProgress
from bridge.pipeline.fit import Fit, fit_arms, fit_plan
from bridge.pipeline.judge import load_judge
from bridge.pipeline.options import make_options, read_toml
from bridge.pipeline.prepare import prepare
from bridge.pipeline.round_trip import cosine, variance_explained
from bridge.pipeline.subject import ModelSubject
from bridge.pipeline.verbalizers import find_verbalizer
from bridge.pipeline.workbench import Workbench, open_workbench
from bridge.scorers import Judge
from bridge.split import HELD_OUT

CHARACTERS = 70
RESAMPLES = 1000
Rows = NDArray[np.float32]


def draw(subjects: Sequence[ModelSubject], count: int, seed: int) -> tuple[list[str], list[Rows]]:
    """Return texts, and both models' activations at the same places of held-out documents, (count, d_model)."""
    found: list[dict[tuple[str, int], Rows]] = []
    for subject in subjects:
        rows: dict[tuple[str, int], Rows] = {}
        for passage in subject.passages(held_out=True):
            rows |= {(passage.document.text, int(end)): x for end, x in zip(passage.ends, passage.x, strict=True)}
        found.append(rows)
    # Whole words only: which word comes last must not depend on a tokenizer.
    both = [place for place in found[0] if place in found[1] and re.match(r"\W|$", place[0][place[1] :])]
    chosen = [both[i] for i in np.random.default_rng(seed).permutation(len(both))[:count]]
    texts = [" ".join(text[max(0, end - CHARACTERS) : end].split()) for text, end in chosen]
    return texts, [np.stack([rows[place] for place in chosen]) for rows in found]


def last_word(text: str) -> str:
    """Return the last word of a text in lower case."""
    words = re.findall(r"\w+", text.lower())
    return words[-1] if words else ""


def scores(told: Sequence[str], texts: Sequence[str], judge: Judge, seed: int) -> dict[str, dict[str, float]]:
    """Compare explanations with texts."""
    e = judge(list(told)).astype(np.float64) @ judge(list(texts)).T.astype(np.float64)
    n = len(texts)
    per_position = {
        "match": e.diagonal(),
        "other_texts": (e.sum(1) - e.diagonal()) / (n - 1),
        "retrieval@1": (e.argmax(1) == np.arange(n)).astype(float),
        "last_word": np.array([last_word(a) == last_word(b) for a, b in zip(told, texts, strict=True)], float),
    }
    resampled = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    intervals = {name: np.percentile(values[resampled].mean(1), [2.5, 97.5]) for name, values in per_position.items()}
    return {
        name: {"value": float(values.mean()), "low": float(intervals[name][0]), "high": float(intervals[name][1])}
        for name, values in per_position.items()
    }


def run(fit: Fit, bench: Workbench, count: int) -> dict[str, Any]:
    """Measure every reader; one verbalizer in memory at a time."""
    plan, options = fit.plan, fit.plan.options
    arms = fit_arms(fit, bench)
    sides = (plan.src, plan.dst)
    subjects = [ModelSubject(plan, side, artifact) for side, artifact in zip(sides, fit.rows.artifacts, strict=True)]
    texts, (x, y) = draw(subjects, count, options.seed)
    readers: dict[str, list[tuple[str, Callable[[], Rows]]]] = {
        "src": [("own verbalizer", lambda: x)],
        "dst": [
            ("the destination's on the destination", lambda: y),
            ("borrowed", lambda: arms["mapped"](x).astype(np.float32)),
            ("borrowed, mispaired map", lambda: arms["mispaired"](x).astype(np.float32)),
        ],
    }
    judge, found = load_judge(options.encoder), {}
    for side, subject, named, mean in (
        (sides[0], subjects[0], options.src_verbalizer, fit.training.moments.mean_x),
        (sides[1], subjects[1], options.dst_verbalizer, fit.training.moments.mean_y),
    ):
        _, kind = find_verbalizer(named, side.model, side.identity, bench.registry)
        verbalizer = kind.open(subject)
        for name, vectors in readers["src" if subject is subjects[0] else "dst"]:
            given = vectors()
            told = [one.text for one in verbalizer.explain(given)]
            found[name] = {"scores": scores(told, texts, judge, options.seed), "examples": told[:5]}
            if verbalizer.reconstructs:
                back, centre = verbalizer.reconstruct(told), mean[None].astype(np.float32)
                trip = {"cosine": float(cosine(given, back).mean()), "fve": variance_explained(given, back, centre)}
                found[name]["round_trip"] = trip | {"cosine_of_the_mean": float(cosine(given, centre).mean())}
        del verbalizer
        gc.collect()
    held_out = int((plan.folds == HELD_OUT).sum())
    return {"positions": len(texts), "held_out_documents": held_out, "texts": texts[:5], "readers": found}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="experiment file, as for `bridge run`")
    parser.add_argument("--positions", type=int, default=200)
    args = parser.parse_args(argv)
    bench = open_workbench(TerminalProgress(quiet=False))
    plan = prepare(make_options(**read_toml(args.file)), bench)
    print(json.dumps(run(fit_plan(plan, bench), bench, args.positions), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
