"""Train a network on text, as `python -m bridge_recurrent.train TEXTS.jsonl --out FOLDER`.

TEXTS is JSON Lines with a `text` a line. One seed, one machine and one version of torch give the same weights.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from bridge.corpus import Document
from bridge.models import Tokenizer
from bridge_recurrent.checkpoint import Shape, save
from bridge_recurrent.network import Network
from bridge_recurrent.tokenizer import BOS, Bytes

TOKENS, BATCH, RATE = 256, 16, 3e-3


def rows_of(texts: Sequence[str], tokenizer: Tokenizer) -> np.ndarray:
    """Return every full stretch of every text, each after BOS, (rows, TOKENS + 1) int64."""
    rows = []
    for text in texts:
        (encoded,) = tokenizer.encode([Document(text, text)], 4 * len(text) + 1)
        ids = encoded.ids[1:]
        rows += [[BOS, *ids[start : start + TOKENS]] for start in range(0, len(ids) - TOKENS + 1, TOKENS)]
    return np.array(rows, dtype=np.int64).reshape(-1, TOKENS + 1)


def train(network: Network, rows: np.ndarray, steps: int, seed: int) -> float:
    """Train in place with AdamW and a cosine to zero; return the loss of the last batches, in nats a byte."""
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps, pct_start=0.05)
    losses = []
    for step in range(1, steps + 1):
        batch = torch.from_numpy(rows[rng.integers(len(rows), size=BATCH)])
        logits = network(batch[:, :-1]).logits
        loss = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if step % 50 == 0 or step == steps:
            print(f"step {step}: {np.mean(losses[-50:]):.3f} nats a byte", flush=True)
    return float(np.mean(losses[-50:]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--d-model", type=int, default=Shape.d_model)
    parser.add_argument("--layers", type=int, default=Shape.n_layers)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    lines = given.texts.read_text(encoding="utf-8").splitlines()
    rows = rows_of([json.loads(line)["text"] for line in lines if line.strip()], Bytes())
    if not len(rows):
        parser.error(f"{given.texts} holds no text of {TOKENS} bytes.")
    torch.manual_seed(given.seed)
    network = Network(Shape(given.d_model, given.layers))
    train(network, rows, given.steps, given.seed)
    save(network, given.out)


if __name__ == "__main__":
    main()
