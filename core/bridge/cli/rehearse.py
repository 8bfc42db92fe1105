"""`bridge rehearse`: run a whole experiment on small random stand-ins, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand, option_flags
from bridge.cli.options import experiment_options, output_options, read_given
from bridge.cli.rehearsing import rehearse_only


@click.command("rehearse", cls=OptionsCommand)
@experiment_options
@click.option("--require", multiple=True, metavar="METRIC>=X", help="Check that the real run computes this metric.")
@click.option(
    "--flops",
    type=click.FloatRange(min=0, min_open=True),
    metavar="TFLOP/S",
    help="Speed of the real device for the estimate, in 1e12 operations per second (default: measured here).",
)
@click.option(
    "--bandwidth",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB/S",
    help="Speed at which the real device reads its memory, which limits explanations (default: measured here, if "
    "--flops is not given).",
)
@click.option(
    "--devices",
    type=click.IntRange(min=1),
    default=1,
    help="Number of devices that share a model's weights in the real run (default 1).",
)
@option_flags(
    "dictionary", "allow_other_model", "features", "positions", "src_verbalizer", "dst_verbalizer", "washout", "encoder"
)
@output_options
def command(
    file: Path | None,
    require: tuple[str, ...],
    flops: float | None,
    bandwidth: float | None,
    devices: int,
    washout: tuple[str, ...],
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Run an experiment on random stand-ins, to find what would fail before the real run is paid for.

    Every checkpoint that the experiment names is replaced by a small one with random weights: the same class, blocks,
    layout on disk and kind of tokenizer, with smaller widths and vocabulary. Configurations come from this machine,
    from the hub's cache, or from the installed model families; nothing is fetched. The whole experiment then runs with
    the code of `bridge run`, in temporary folders.

    The numbers of random weights mean nothing: none is printed or kept. The output lists what would have failed, what
    could not be tried, and an estimate of the real run. The exit code is 1 if anything would have failed.

    \b
    bridge rehearse experiment.toml
    bridge rehearse experiment.toml --flops 400 --bandwidth 2000 --devices 2    # estimate for two GPUs of such speeds
    bridge rehearse --src qwen@20 --dst gemma@41 --positions 20
    """
    from bridge.pipeline.score.thresholds import parse_requirements
    from bridge.rehearsable.call import GIGA, TERA

    flags |= {"washout": washout or None}
    named = {name for name, value in flags.items() if value is not None}
    speed, read = None if flops is None else flops * TERA, None if bandwidth is None else bandwidth * GIGA
    how = {
        "given": tuple(named),
        "require": parse_requirements(require),
        "flops": speed,
        "bandwidth": read,
        "devices": devices,
    }
    rehearse_only("run", as_json, quiet, how=how, **read_given(file, flags))
