"""`bridge fit`: fit a map and save it, without scores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand
from bridge.cli.options import experiment_options, output_options, print_json, read_given, read_options
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option
from bridge.terminal import line


@click.command("fit", cls=OptionsCommand)
@experiment_options
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the bridge.")
@rehearse_option
@output_options
def command(file: Path | None, out: Path, rehearsed: bool, as_json: bool, quiet: bool, **flags: Any) -> None:
    """Fit a bridge and save it, without scoring it.

    Faster than `bridge run`, without any scores of the map.

    \b
    bridge fit --src smollm2-135m@19 --dst gemma3-270m@12 --out my-bridge
    """
    from bridge.pipeline.jobs.run import fit

    if rehearsed:
        rehearse_only("fit", as_json, quiet, out=out, **read_given(file, flags))
    result = fit(read_options(file, flags), out, TerminalProgress(quiet), sys.stdin)
    if as_json:
        print_json({"folder": str(out), "src": result.src, "dst": result.dst, "map": result.map, **result.provenance})
    else:
        line(f"{result!r} is in {out}. The bridge is not scored; use `bridge run` for scores.")
