"""`bridge verbalizer`: train a model that says what another model's activations mean."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli.options import output_options, print_json
from bridge.cli.progress import TerminalProgress


@click.group("verbalizer")
def command() -> None:
    """Train activation verbalizers: models that read one activation and write what it means."""


@command.command("train")
@click.option("--model", required=True, metavar="MODEL@SITE", help="Whose activations it reads, as smollm2-135m@19.")
@click.option("--verbalizer", default="nla", help="Kind of verbalizer (default nla).")
@click.option("--corpus", metavar="SOURCE", help="Text to train on, as in bridge run; varied text makes a better one.")
@click.option("--dictionary", metavar="SAE", help="Train on half of its features too; the others stay unseen.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder (default: where it is found again)."
)
@click.option("--steps", type=click.IntRange(min=1), default=1500, show_default=True, help="Of each half, AV and AR.")
@click.option("--batch", type=click.IntRange(min=1), default=16, show_default=True, help="Examples a step.")
@click.option("--rank", type=click.IntRange(min=1), default=32, show_default=True, help="Of the low-rank adapters.")
@click.option("--lr", type=float, default=1e-3, show_default=True, help="Peak learning rate.")
@click.option("--characters", type=int, default=70, show_default=True, help="How much text before a token is said.")
@click.option("--topics", is_flag=True, help="Say the topic of a text first; the corpus's records carry `topic`.")
@click.option("--reconstructor/--no-reconstructor", default=True, help="Train the way back, the AR, too.")
@click.option("--max-documents", type=int, help="Use the first so many documents only.")
@click.option("--max-tokens", type=int, help="Cut texts after so many tokens (default 256).")
@click.option("--seed", type=int, help="Of everything random (default 0).")
@click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:N, mps, or auto (default).")
@output_options
def train(
    model: str, verbalizer: str, dictionary: str | None, out: Path | None, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Train a verbalizer of a model, from the model itself and plain text.

    A copy of the model learns, by low-rank adapters, to say the text that led to an activation, and a second copy to
    give the activation back from such a text. The folder is in the layout of released NLA checkpoints. Interrupted,
    the same command goes on from the last checkpoint. Losses are on documents that it was not trained on, beside what
    the same model says without the activation.

    \b
    bridge verbalizer train --model smollm2-135m@19
    bridge verbalizer train --model gemma3-270m@12 --corpus texts/ --dictionary my-sae/ --steps 3000 --out my-av
    """
    from bridge.pipeline.jobs.train_verbalizer import train_verbalizer
    from bridge.pipeline.plan.options import make_options
    from bridge.report.verbalizer import print_training
    from bridge.verbalizers import Recipe

    names = ("steps", "batch", "rank", "lr", "characters", "topics", "reconstructor")
    recipe = Recipe(**{name: given.pop(name) for name in names})
    options = make_options(src=model, dst=model, **given)
    progress = TerminalProgress(quiet)
    record = train_verbalizer(options, verbalizer, recipe, dictionary or "", out, progress, sys.stdin)
    if as_json:
        print_json(record)
    else:
        print_training(record)
