"""`bridge verbalizer`: train a verbalizer of a model's activations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand, field_flags, option_flags
from bridge.cli.options import output_options, print_json
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option

TRAINED = ("steps", "batch", "rank", "lr", "characters", "topics", "reconstructor", "inject")


@click.group("verbalizer")
def command() -> None:
    """Train activation verbalizers: models that read one activation and write an explanation."""


@command.command("train", cls=OptionsCommand)
@click.option("--model", required=True, metavar="MODEL@SITE", help="Model and site to explain, as smollm2-135m@19.")
@click.option("--verbalizer", default="nla", help="Kind of verbalizer (default nla).")
@option_flags("corpus", corpus="Training text, as in bridge run; use varied text.")
@click.option("--dictionary", metavar="SAE", help="Also train on half of its features; the other half stays unseen.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder (default: a folder where other commands find it).",
)
@field_flags("bridge.verbalizers:Recipe", *TRAINED)
@option_flags("allow_other_model", "max_documents", "max_tokens", "seed", "device", "dtype", "allow_untrained")
@option_flags("src_activations", src_activations="Where activations come from, as vllm:tensor_parallel=2.")
@option_flags("engine")
@rehearse_option
@output_options
def train(
    model: str,
    verbalizer: str,
    dictionary: str | None,
    out: Path | None,
    rehearsed: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Train a verbalizer of a model, from the model itself and plain text.

    A copy of the model learns, by low-rank adapters, to write the text before an activation, and a second copy to
    reconstruct the activation from such a text. The folder has the layout of released NLA checkpoints. With
    --verbalizer activation_oracle, an adapter learns to answer questions about the text around an activation. An
    interrupted command continues from the last checkpoint when called again. Losses are on documents outside the
    training set, together with the loss of the same model without the activation.

    \b
    bridge verbalizer train --model smollm2-135m@19
    bridge verbalizer train --model gemma3-270m@12 --corpus texts/ --dictionary my-sae/ --steps 3000 --out my-av
    bridge verbalizer train --model gemma3-270m@12 --verbalizer activation_oracle --out my-oracle
    """
    from bridge.pipeline.jobs.train_verbalizer import train_verbalizer
    from bridge.pipeline.plan.options import make_options
    from bridge.report.verbalizer import print_training
    from bridge.verbalizers import Recipe

    if rehearsed:
        named: dict[str, Any] = {"verbalizer": verbalizer, "dictionary": dictionary, "out": out}
        rehearse_only("train_verbalizer", as_json, quiet, model, **named, **given)
    recipe = Recipe(**{name: given.pop(name) for name in TRAINED})
    options = make_options(src=model, **given)
    progress = TerminalProgress(quiet)
    record = train_verbalizer(options, verbalizer, recipe, dictionary or "", out, progress, sys.stdin)
    if as_json:
        print_json(record)
    else:
        print_training(record)
