"""`bridge steer`: steer the destination with the source's vector, beside its own, raw and random ones."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.options import need_free, output_options, print_json, write_result
from bridge.cli.progress import TerminalProgress


@click.command("steer")
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("contrast", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--vector-from",
    metavar="ROWS",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Make the source's vector from these labelled activations instead of CONTRAST.",
)
@click.option("--dose", "doses", type=float, multiple=True, help="Multiple of the native vector's length; repeatable.")
@click.option("--prompt", "prompts", multiple=True, help="Go on with this text, at the largest dose; repeatable.")
@click.option(
    "--new-tokens", type=click.IntRange(min=1), default=30, help="Most tokens to add to a prompt (default 30)."
)
@click.option(
    "--max-tokens", type=click.IntRange(min=2), default=256, help="Cut texts and prompts after so many (default 256)."
)
@click.option("--seed", type=int, default=0, help="Of the split and the random directions (default 0).")
@click.option("--device", default="auto", metavar="DEVICE", help="cpu, cuda, cuda:N, mps, or auto (default).")
@click.option("--dtype", default="auto", metavar="DTYPE", help="bfloat16, float32, or auto (default): the faster one.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the result as JSON.")
@output_options
def command(
    bridge_folder: Path,
    contrast: Path,
    vector_from: Path | None,
    doses: tuple[float, ...],
    prompts: tuple[str, ...],
    new_tokens: int,
    max_tokens: int,
    seed: int,
    device: str,
    dtype: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Make a steering vector from CONTRAST in BRIDGE's source, carry it across, and steer the destination with it.

    CONTRAST is JSON Lines of {"text": ..., "class": ...} with two classes. Half of the texts make the vector (the
    difference of the classes' mean activations at the last token), the others test it: how far the next-token
    prediction moves towards the other class (log-odds under the classes' own mean predictions), and how far at all
    (KL). All arms have the native vector's length: native is made in the destination, raw is the source's as it is,
    random the mean effect of five random directions. The transfer ratio is an arm's shift over the native one's.
    Intervals are over the tested texts; how far random directions differ among themselves is not in them. What is
    added to a prompt ends where the model itself says that a text ends.

    ROWS is a safetensors file of activations at BRIDGE's source: rows (n, width) float, and labels (n,) integers, 0
    for CONTRAST's first class (that of its first line) and 1 for the second. The source is then not run. CONTRAST still
    makes the native vector and tests every arm, so collect the rows on other texts than it tests.

    \b
    bridge steer rotation depth.jsonl --dose 0.5 --dose 1 --dose 2
    bridge steer runs/my-run sentiment.jsonl --prompt "The hotel was"
    bridge steer runs/my-run sentiment.jsonl --vector-from collected.safetensors
    """
    from bridge.models import Placement
    from bridge.pipeline.fit.bridge import load_bridge
    from bridge.pipeline.jobs.steer import steer
    from bridge.pipeline.score.steering import Dose
    from bridge.pipeline.transfer.contrast import load_contrast, read_labelled_rows
    from bridge.report.steer import print_steering

    need_free(out)
    dose = Dose(doses or Dose().doses, prompts, new_tokens, max_tokens, Placement(device, dtype), seed)
    rows = read_labelled_rows(vector_from) if vector_from else None
    result = steer(load_bridge(bridge_folder), load_contrast(contrast, seed), dose, TerminalProgress(quiet), rows)
    write_result(out, result.document())
    if as_json:
        print_json(result.document())
    else:
        print_steering(result)
