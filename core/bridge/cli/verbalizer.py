"""`bridge verbalizer`: train a model that says what another model's activations mean."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand, field_flags, option_flags
from bridge.cli.options import output_options, print_json
from bridge.cli.progress import TerminalProgress

TRAINED = ("steps", "batch", "rank", "lr", "characters", "topics", "reconstructor", "inject")


@click.group("verbalizer")
def command() -> None:
    """Train activation verbalizers: models that read one activation and write what it means."""


@command.command("train", cls=OptionsCommand)
@click.option("--model", required=True, metavar="MODEL@SITE", help="Whose activations it reads, as smollm2-135m@19.")
@click.option("--verbalizer", default="nla", help="Kind of verbalizer (default nla).")
@option_flags("corpus", corpus="Text to train on, as in bridge run; varied text makes a better one.")
@click.option("--dictionary", metavar="SAE", help="Train on half of its features too; the others stay unseen.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder (default: where it is found again)."
)
@field_flags("bridge.verbalizers:Recipe", *TRAINED)
@option_flags("allow_other_model", "max_documents", "max_tokens", "seed", "device", "dtype", "allow_untrained")
@output_options
def train(
    model: str, verbalizer: str, dictionary: str | None, out: Path | None, as_json: bool, quiet: bool, **given: Any
) -> None:
    """Train a verbalizer of a model, from the model itself and plain text.

    A copy of the model learns, by low-rank adapters, to say the text that led to an activation, and a second copy to
    give the activation back from such a text. The folder is in the layout of released NLA checkpoints. Interrupted,
    the same command continues from the last checkpoint. Losses are on documents that it was not trained on, beside what
    the same model says without the activation.

    \b
    bridge verbalizer train --model smollm2-135m@19
    bridge verbalizer train --model gemma3-270m@12 --corpus texts/ --dictionary my-sae/ --steps 3000 --out my-av
    """
    from bridge.pipeline.jobs.train_verbalizer import train_verbalizer
    from bridge.pipeline.plan.options import make_options
    from bridge.report.verbalizer import print_training
    from bridge.verbalizers import Recipe

    recipe = Recipe(**{name: given.pop(name) for name in TRAINED})
    options = make_options(src=model, **given)
    progress = TerminalProgress(quiet)
    record = train_verbalizer(options, verbalizer, recipe, dictionary or "", out, progress, sys.stdin)
    if as_json:
        print_json(record)
    else:
        print_training(record)
