"""`bridge transfer`: carry things through a fitted bridge."""

from __future__ import annotations

from pathlib import Path

import click

from bridge.cli.options import output_options, print_json


@click.group("transfer")
def command() -> None:
    """Carry things of the source model through a fitted bridge."""


@command.command("directions")
@click.argument("bridge_folder", metavar="BRIDGE", type=click.Path(file_okay=False, path_type=Path))
@click.argument("vectors", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@output_options
def directions(bridge_folder: Path, vectors: Path, out: Path, as_json: bool, quiet: bool) -> None:
    """Move every tensor of the safetensors file VECTORS through BRIDGE, as directions.

    Directions (steering vectors, probes, decoder rows) go through the linear part of the map alone. The result holds
    the same names. The gain is the mean length of a moved direction over its length before.

    \b
    bridge transfer directions runs/my-run steering.safetensors --out steering-on-gemma.safetensors
    """
    from bridge.errors import printable
    from bridge.pipeline.bridge import load_bridge
    from bridge.pipeline.transfer import transfer_directions

    report = transfer_directions(load_bridge(bridge_folder), vectors, out)
    if as_json:
        print_json(report)
    elif not quiet:
        for name, row in report.items():
            click.echo(printable(f"{name}: {row['shape']}, gain {row['gain']:.3f}"))
