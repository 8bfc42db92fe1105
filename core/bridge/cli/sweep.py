"""`bridge sweep`: score every pair of layers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from bridge.cli.flags import OptionsCommand
from bridge.cli.options import experiment_options, output_options, print_json, read_given, read_options
from bridge.cli.parts import collect_only, part_option
from bridge.cli.progress import TerminalProgress
from bridge.cli.rehearsing import rehearse_only, rehearse_option


@click.command("sweep", cls=OptionsCommand)
@experiment_options
@part_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for results (default runs/...).")
@rehearse_option
@output_options
def command(
    file: Path | None,
    out: Path | None,
    part: str | None,
    rehearsed: bool,
    as_json: bool,
    quiet: bool,
    **flags: Any,
) -> None:
    """Score every layer of one model against every layer of another.

    Each model runs once over the corpus, for any number of layers. EV and retrieval are both shown because EV alone is
    misleading: early layers share position and token shape, which have much variance and little meaning. Scores are on
    validation documents; choose a pair here, then test it with `bridge run` on the held-out documents.

    \b
    bridge sweep --src 'smollm2-135m@*' --dst 'gemma3-270m@*' --max-documents 700
    bridge sweep --src qwen@8,12,16,20,24 --dst gemma@20-50:5
    """
    from bridge.pipeline.jobs.folder import default_folder
    from bridge.pipeline.jobs.sweep import sweep
    from bridge.report.heatmap import print_sweep, write_sweep
    from bridge.report.html import REPORT, need_ours, write_report

    if rehearsed:
        rehearse_only("sweep", as_json, quiet, out=out, **read_given(file, flags))
    options = read_options(file, flags)
    if part:
        collect_only(options, part, as_json, quiet)
        return
    folder = out or default_folder(options, "sweep")
    need_ours(folder / REPORT)
    result = sweep(options, TerminalProgress(quiet), sys.stdin, folder)
    write_sweep(result, folder)
    write_report([folder], folder / REPORT)
    if as_json:
        print_json(result.document())
    else:
        print_sweep(result, folder)
