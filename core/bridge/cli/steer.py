"""`bridge steer`: steer the destination with the source's vector, and with native, raw and random vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand, field_flags, option_flags
from bridge.cli.options import output_options, print_json
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option

STEERED = ("doses", "prompts", "new_tokens", "max_tokens", "seed", "allow_untrained")


@click.command("steer", cls=OptionsCommand)
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("contrast", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--vector-from",
    metavar="ROWS",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Make the source's vector from these labelled activations instead of CONTRAST.",
)
@field_flags(
    "bridge.pipeline.score.steering:Dose", *STEERED, doses=("--dose", "doses"), prompts=("--prompt", "prompts")
)
@option_flags("device", "dtype")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the result as JSON.")
@rehearse_option
@output_options
def command(
    bridge_folder: Path,
    contrast: Path,
    vector_from: Path | None,
    device: str | None,
    dtype: str | None,
    out: Path | None,
    rehearsed: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Make a steering vector from CONTRAST in BRIDGE's source, map it, and steer the destination with it.

    CONTRAST is JSON Lines of {"text": ..., "class": ...} with two classes. The vector is the difference of the classes'
    mean activations at the last token, over half of the texts. The other half tests it: the shift of the next-token
    prediction towards the other class (log-odds under the classes' own mean predictions), and the KL divergence from
    the plain prediction. All arms have the native vector's length: native is computed in the destination, raw is the
    source's vector without a map, random is the mean effect of five random directions. The transfer ratio is an arm's
    shift over the native shift. Intervals are over the tested texts and do not cover the variation among random
    directions. Generated text ends at the model's end-of-text token.

    ROWS is a safetensors file of activations at BRIDGE's source: rows (n, width) float, and labels (n,) integers, 0
    for CONTRAST's first class (the class of its first line) and 1 for the second. The source is then not run. CONTRAST
    still gives the native vector and tests every arm, so collect the rows on other texts than the tested ones.

    \b
    bridge steer rotation depth.jsonl --dose 0.5 --dose 1 --dose 2
    bridge steer runs/my-run sentiment.jsonl --prompt "The hotel was"
    bridge steer runs/my-run sentiment.jsonl --vector-from collected.safetensors
    """
    from bridge.face.live import steer
    from bridge.report.steer import print_steering

    given |= {"vector_from": vector_from, "device": device or "auto", "dtype": dtype or "auto", "out": out}
    if rehearsed:
        rehearse_only("steer", as_json, quiet, bridge_folder, contrast, **given)
    result = steer(bridge_folder, contrast, progress=TerminalProgress(quiet), **given)
    if as_json:
        print_json(result.document())
    else:
        print_steering(result)
