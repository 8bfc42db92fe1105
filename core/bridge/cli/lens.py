"""`bridge lens`: fit lenses, matrices by layer that carry activations to the end of the model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand, field_flags, option_flags
from bridge.cli.options import output_options, print_json
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option

FITTED = ("prompts", "max_tokens", "skip", "part", "memory")

kind_option = click.option("--kind", default="", help="Kind of lens (default: the only one that is installed).")


@click.group("lens")
def command() -> None:
    """Fit lenses: a matrix for each layer, from the model itself and plain text, that verbalizers read."""


@command.command("fit", cls=OptionsCommand)
@click.option("--model", required=True, metavar="MODEL", help="Whose lens it is, as smollm2-135m or ./folder.")
@click.option("--layers", default="all", help="As 3,7,11 or 0-11:4 (default all: every block but the last).")
@kind_option
@option_flags("corpus", corpus="Text to fit on, as in bridge run; held-out documents are left out.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File (default: where it is found again).")
@field_flags("bridge.verbalizers:LensRecipe", *FITTED)
@option_flags("max_documents", "seed", "device", "dtype", "allow_untrained")
@rehearse_option
@output_options
def fit(
    model: str,
    layers: str,
    kind: str,
    out: Path | None,
    rehearsed: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Fit a lens of a model at several layers.

    What is finished is kept: interrupted, the same command continues from there, with the same bits. Machines can fit
    parts of the texts each, which bridge lens merge adds up.

    \b
    bridge lens fit --model smollm2-135m
    bridge lens fit --model gemma3-270m --layers 6,12 --prompts 200 --part 1/2 --out first.safetensors
    """
    from bridge.pipeline.jobs.lens import fit_lens
    from bridge.pipeline.plan.options import make_options
    from bridge.report.lens import print_lens

    if rehearsed:
        rehearse_only("fit_lens", as_json, quiet, model, layers=layers, kind=kind, out=out, **given)
    how = {name: given.pop(name) for name in FITTED}
    record = fit_lens(make_options(src=model, **given), layers, how, kind, out, TerminalProgress(quiet), sys.stdin)
    print_json(record) if as_json else print_lens(record)


@command.command("merge")
@click.argument("parts", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@kind_option
@output_options
def merge(parts: tuple[Path, ...], out: Path, kind: str, as_json: bool, quiet: bool) -> None:
    """Put lenses of one model that were fitted on disjoint texts together, as if they had been fitted at once.

    \b
    bridge lens merge first.safetensors second.safetensors --out whole.safetensors
    """
    from bridge.pipeline.jobs.lens import merge_lenses
    from bridge.report.lens import print_lens

    record = merge_lenses(parts, out, kind, TerminalProgress(quiet))
    print_json(record) if as_json else print_lens(record)
