"""Train a sparse autoencoder on a model's residual stream, or all those that bridge ships for the Dyck networks.

    python tools/train_sae.py --model dyck:seed0@1 --kind relu --features 256 --init-seed 100 --out DIR
    python tools/train_sae.py --model gemma3-270m@12 --kind topk --features 4096 --k 32 --out DIR
    python tools/train_sae.py --model dyck:seed0@1 --validate --l1 0.01  # scores on the last training fold only
    python tools/train_sae.py --ship plugins/models/bridge_toys/dyck/checkpoints

Rows come as in `bridge run` with the same options: same corpus, skip, outlier rule and split by document; it trains on
the training documents only and reports scores on the held-out ones. All training rows are held in memory as float32.
ReLU: mean squared error + l1 * sum |f|. TopK: arXiv 2406.04093, without its auxiliary loss, so dead features stay dead.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bridge.cli.progress import TerminalProgress
from bridge.corpus.split import HELD_OUT
from bridge.dictionaries import Origin, ReLU, SparseAutoencoder, TopK, initial_directions
from bridge.pairing.rows import PairedRows
from bridge.pipeline.plan.gather import gather, paired_rows
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.plan.plan import Plan, prepare
from bridge.pipeline.plan.runtime import Runtime, open_runtime
from bridge.progress import Progress
from bridge.references import Site

Floats = NDArray[np.float32]
SITES = (Site(0, "resid_pre"), Site(0, "resid_mid"), Site(0), Site(1, "resid_mid"), Site(1))
SEEDS = range(5)


def read_rows(args: argparse.Namespace, runtime: Runtime) -> tuple[Plan, Floats, Floats]:
    """Return the plan, the rows to train on and those to score on, (rows, d_model) float32."""
    # A model paired with itself: every token that `bridge run` could pair, under its own rules.
    plan = prepare(
        make_options(
            src=args.model, dst=args.model, corpus=args.corpus, max_tokens=args.max_tokens,
            max_documents=args.max_documents, split=args.split, device="cpu",
        ),
        runtime,
    )  # fmt: skip
    site = plan.src.model.single_site()
    artifact = gather(plan, {"src": [site], "dst": []}, runtime)[0][site]
    rows = paired_rows(plan, artifact, artifact)
    scored = plan.training_folds[-1] if args.validate else HELD_OUT
    fitted = [fold for fold in plan.training_folds if fold != scored]
    return plan, typical(rows, fitted), typical(rows, [scored])


def typical(rows: PairedRows, folds: list[int]) -> Floats:
    """Return the rows of some folds, without outliers, (rows, d_model) float32."""
    blocks = [block.x[~block.outlier] for block, _ in rows.blocks(lambda fold: np.isin(fold, folds))]
    return np.concatenate(blocks)


def train(rows: Floats, args: argparse.Namespace, origin: Origin, progress: Progress) -> SparseAutoencoder:
    """Train with Adam; the rate falls to zero over the last fifth of the steps."""
    x = torch.from_numpy(rows)
    mean = x.mean(0)
    unit = float((x - mean).square().mean().sqrt())
    x = x / unit
    # Copied: Adam writes in place, and the transpose must not share its memory.
    decoder = torch.from_numpy(initial_directions(x.shape[1], args.features, args.init_seed)).clone()
    encoder = decoder.T.contiguous().clone()
    weights = [encoder, torch.zeros(args.features), decoder, mean / unit]
    for weight in weights:
        weight.requires_grad_(True)
    optimizer = torch.optim.Adam(weights, lr=args.lr)
    order = torch.Generator().manual_seed(args.init_seed)
    with progress.stage(f"train {args.model}", args.steps, "steps") as advance:
        for step in range(args.steps):
            optimizer.param_groups[0]["lr"] = args.lr * min(1.0, 5 * (args.steps - step) / args.steps)
            batch = x[torch.randint(len(x), (args.batch,), generator=order)]
            optimizer.zero_grad()
            loss(batch, weights, args).backward()
            remove_parallel(decoder)
            optimizer.step()
            with torch.no_grad():
                decoder /= decoder.norm(dim=1, keepdim=True)
            advance()
    encoder, bias, decoder, shift = (weight.detach() for weight in weights)
    # Both activations scale with their input, so the unit moves into the biases and features come out in raw units.
    saved = (encoder, bias * unit, decoder, shift * unit)
    arrays: list[Floats] = [array.numpy().astype(np.float32) for array in saved]
    activation = TopK(args.k) if args.kind == "topk" else ReLU()
    return SparseAutoencoder(*arrays, activation, shift=arrays[3], origin=origin)


def loss(batch: Tensor, weights: Sequence[Tensor], args: argparse.Namespace) -> Tensor:
    """Mean squared error over entries, plus for ReLU l1 times the mean sum of feature activations; a scalar."""
    encoder, bias, decoder, shift = weights
    features = torch.relu((batch - shift) @ encoder + bias)
    if args.kind == "topk":
        values, kept = features.topk(args.k, dim=1)
        features = torch.zeros_like(features).scatter(1, kept, values)
    error = (features @ decoder + shift - batch).square().mean()
    return error if args.kind == "topk" else error + args.l1 * features.sum(1).mean()


def remove_parallel(decoder: Tensor) -> None:
    """Take out of the gradient what would only change the rows' lengths."""
    assert decoder.grad is not None
    with torch.no_grad():
        decoder.grad -= (decoder.grad * decoder).sum(1, keepdim=True) * decoder


def scores(sae: SparseAutoencoder, rows: Floats, mean: Floats) -> dict[str, float | int]:
    """Explained variance against the training mean, mean number of active features, features that ever fire."""
    features = sae.encode(rows)
    left = float(np.square(rows - sae.decode(features), dtype=np.float64).sum())
    total = float(np.square(rows - mean, dtype=np.float64).sum())
    alive = (features > 0).any(0)
    return {
        "ev": round(1 - left / total, 5),
        "l0": round(float((features > 0).sum(1).mean()), 3),
        "alive": round(float(alive.mean()), 4),
        "dead_features": int((~alive).sum()),
    }


def run(args: argparse.Namespace, runtime: Runtime) -> None:
    """Train one dictionary, score it, and write it unless this is a validation."""
    plan, rows, scored = read_rows(args, runtime)
    side = plan.src
    site = side.model.single_site()
    encoded = side.tokenizer.encode(plan.corpus.documents[:1], plan.options.corpus.max_tokens)[0]
    name = f"blocks.{site.layer}.hook_{site.point}"
    origin = Origin(side.model.name, name, bool(encoded.ends[0] < 0), args.init_seed)
    sae = train(rows, args, origin, runtime.progress)
    told = scores(sae, scored, rows.mean(0))
    print(f"{args.model} init {args.init_seed}: {told}", flush=True)
    if args.validate:
        return
    runtime.registry.dictionary_formats["saelens"].save(sae, args.out)
    kept = ("kind", "features", "k", "l1", "init_seed", "steps", "batch", "lr")
    record: dict[str, Any] = {key: getattr(args, key) for key in kept}
    record |= {"rows": len(rows), "held_out_rows": len(scored), "held_out": told, "torch": torch.__version__}
    record |= {"model": side.model.label(site), "weights": side.identity, "corpus_sha256": plan.corpus.identity}
    wanted = ("max_tokens", "max_documents", "skip", "outlier_factor", "split", "held_out", "folds", "seed", "dtype")
    record["options"] = {key: plan.options.flat()[key] for key in wanted}
    (args.out / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def ship(args: argparse.Namespace, runtime: Runtime) -> None:
    """Train every dictionary that bridge ships; `relu-init100` starts where seed 0's does, to show what that does."""
    jobs = [(seed, site, 100 + seed, "relu") for seed in SEEDS for site in SITES]
    for seed, site, init, name in [*jobs, *((seed, Site(1), 100, "relu-init100") for seed in (1, 2, 3, 4))]:
        out = args.ship / f"seed{seed}" / "dictionaries" / str(site) / name
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        job = {"model": f"dyck:seed{seed}@{site}", "init_seed": init, "out": out, "kind": "relu", "validate": False}
        run(argparse.Namespace(**(vars(args) | job)), runtime)


def main(argv: Sequence[str] | None = None) -> int:
    """Train one dictionary or all shipped ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="model and site, as in dyck:seed0@1")
    parser.add_argument("--kind", choices=("relu", "topk"), default="relu")
    parser.add_argument("--split", choices=("random", "last"))
    parser.add_argument("--corpus", help="as in `bridge run`")
    for name, default in (("features", 256), ("k", 32), ("init-seed", 7), ("steps", 800), ("batch", 1024)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--max-documents", type=int)
    parser.add_argument("--l1", type=float, default=0.01)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--validate", action="store_true", help="score on the last training fold and write nothing")
    parser.add_argument("--out", type=Path, help="new folder to write to")
    parser.add_argument("--ship", type=Path, help="checkpoints folder of the Dyck networks: train all shipped ones")
    args = parser.parse_args(argv)
    if not (args.ship or (args.model and (args.out or args.validate))):
        parser.error("Say what to train: --model and --out, --model and --validate, or --ship.")
    torch.set_num_threads(1)  # sums over several threads depend on how many there are
    runtime = open_runtime(TerminalProgress(quiet=False))
    (ship if args.ship else run)(args, runtime)
    return 0


if __name__ == "__main__":
    sys.exit(main())
