"""Train one of the Dyck networks that bridge ships, or write its corpus of held-out words.

    python tools/train_dyck.py --seed 0 --out DIR                            # a run with its early checkpoint
    python tools/train_dyck.py --seed 100 --steps 0 --out FRAME              # untrained
    python tools/train_dyck.py --seed 5 --frozen-from FRAME --out DIR        # embeddings and heads of FRAME, frozen
    python tools/train_dyck.py --corpus FILE

One seed and one version of torch give the same bytes. The recipe is made for runs that end in one function: small
initial weights and strong weight decay let what is learned outweigh what was drawn, and an epsilon in the size of the
gradients keeps Adam from blowing up the noise of weights that have nothing to learn.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from bridge_toys.dyck.checkpoint import save
from bridge_toys.dyck.language import CLOSING, FIRST_CLOSING, UNK, Words, legal, sample
from bridge_toys.dyck.network import Network, Output, frame
from bridge_toys.dyck.shape import Shape

STEPS, BATCH, RATE, DECAY, EPSILON, WARMUP, EARLY = 3000, 64, 3e-3, 1.0, 1e-4, 100, 300
RUNS, TRAINING, HELD_OUT, CORPUS = 7, 1, 2, 3  # seeds 0 to RUNS - 1 are shipped; the others name streams of chance


def targets(words: Words) -> tuple[Tensor, Tensor, Tensor]:
    """Next token, depth and validity to learn, each (words, tokens) int64, -1 where there is nothing to learn."""
    following = np.full_like(words.ids, -1)
    following[:, :-1] = np.where(words.valid[:, 1:] == 1, words.ids[:, 1:], -1)
    return torch.from_numpy(following), torch.from_numpy(words.depth), torch.from_numpy(words.valid)


def losses(output: Output, words: Words) -> list[Tensor]:
    """Cross-entropies of the three heads, in nats."""
    return [
        functional.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=-1)
        for logits, target in zip(output, targets(words), strict=True)
    ]


def initialise(network: Network, seed: int) -> None:
    """Draw weights; embeddings start small beside what the blocks add, so that positions hold what is learned."""
    generator = torch.Generator().manual_seed(seed)
    scales = {"tokens.weight": 0.02, "positions.weight": 0.01}
    for name, weight in network.named_parameters():
        scale = scales.get(name, (0.5 if name.startswith("blocks.") else 1.0) / math.sqrt(weight.shape[1]))
        torch.nn.init.normal_(weight, std=scale, generator=generator)


def train(network: Network, seed: int, steps: int, early: Path) -> None:
    """Train in place with AdamW and a cosine to zero, and write the early checkpoint."""
    rng = np.random.default_rng([TRAINING, seed])
    learned = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.999), eps=EPSILON, weight_decay=DECAY)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        optimizer.param_groups[0]["lr"] = RATE * min(1, step / WARMUP) * (1 + math.cos(math.pi * step / steps)) / 2
        words = sample(rng, BATCH)
        parts = losses(network(torch.from_numpy(words.ids)), words)
        optimizer.zero_grad()
        sum(parts, torch.zeros(())).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        if step == EARLY:
            finish(network, early / f"step{step}", seed, step)
        if step % 250 == 0 or step == steps:
            told = ", ".join(f"{part.item():.4f}" for part in parts)
            print(f"step {step}: {told}; {step / (time.perf_counter() - start):.1f} steps/s", flush=True)


def accuracies(network: Network) -> dict[str, float]:
    """Accuracy of every head on fresh words, as shares of tokens."""
    words = sample(np.random.default_rng([HELD_OUT, 0]), 1000)
    with torch.inference_mode():
        output = network(torch.from_numpy(words.ids))
    following, depth, valid = targets(words)
    guess = output.validity.argmax(-1)
    closing = following >= FIRST_CLOSING
    kinds = output.logits[..., FIRST_CLOSING : FIRST_CLOSING + len(CLOSING)].argmax(-1) + FIRST_CLOSING
    cases, best = legal_after(words), output.logits.argmax(-1)
    shares = {
        "depth": (output.depth.argmax(-1) == depth)[depth >= 0],
        "validity": (guess == valid)[valid >= 0],
        "validity_of_broken": (guess == valid)[valid == 0],
        "next_is_legal": torch.tensor([int(best[row, t]) in allowed for row, t, allowed in cases]),
        "closing_kind": (kinds == following)[closing],
    }
    return {name: round(float(hits.double().mean()), 5) for name, hits in shares.items()}


def legal_after(words: Words) -> list[tuple[int, int, frozenset[int]]]:
    """For every valid prefix its row, its last position, and the ids that may follow."""
    cases = []
    for row, (ids, valid) in enumerate(zip(words.ids, words.valid, strict=True)):
        stack: list[int] = []
        for t in np.flatnonzero(valid == 1):
            if ids[t] >= FIRST_CLOSING:
                stack.pop()
            elif ids[t] > UNK:
                stack.append(int(ids[t]) - UNK - 1)
            cases.append((row, int(t), legal(stack)))
    return cases


def finish(network: Network, folder: Path, seed: int, steps: int) -> None:
    """Write a checkpoint and what it can do."""
    record = {"seed": seed, "steps": steps, "words": steps * BATCH, "torch": torch.__version__, **accuracies(network)}
    (save(network, folder) / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{folder}: {record}", flush=True)


def write_corpus(path: Path, words: int = 3000) -> None:
    """Write words of 20 to 63 brackets that no shipped run was trained on, not even as the start of a longer word."""
    drawn = sample(np.random.default_rng([CORPUS, 0]), 3 * words).texts
    cuts = np.random.default_rng([CORPUS, 1]).integers(20, 64, len(drawn))
    texts = dict.fromkeys(text[:cut] for text, cut in zip(drawn, cuts, strict=True) if len(text) >= 20)
    for seed in range(RUNS):
        rng = np.random.default_rng([TRAINING, seed])
        for _ in range(STEPS):
            for text in sample(rng, BATCH).texts:
                for end in range(20, len(text) + 1):
                    texts.pop(text[:end], None)
    lines = [json.dumps({"text": text}) for text in list(texts)[:words]]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path}: {len(lines)} words, {path.stat().st_size} bytes")


def main(argv: Sequence[str] | None = None) -> int:
    """Train one network, or write the corpus."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--out", type=Path, help="folder to write the checkpoint to")
    parser.add_argument("--frozen-from", type=Path, help="checkpoint whose embeddings and heads are taken and frozen")
    parser.add_argument("--corpus", type=Path, help="write the held-out words to this file and do nothing else")
    args = parser.parse_args(argv)
    if args.corpus:
        write_corpus(args.corpus)
        return 0
    if not args.out:
        parser.error("Nothing says where to write the checkpoint. Add --out DIR.")
    torch.set_num_threads(1)  # sums over several threads depend on how many there are
    network = Network(Shape())
    initialise(network, args.seed)
    if args.frozen_from:
        given = load_file(args.frozen_from / "model.safetensors")
        for name, weight in frame(network).items():
            weight.requires_grad_(False).copy_(given[name])
    train(network, args.seed, args.steps, args.out)
    finish(network, args.out, args.seed, args.steps)
    return 0


if __name__ == "__main__":
    sys.exit(main())
