"""The flag --part of the commands that a job array may run."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from bridge.cli.flags import Command
from bridge.cli.options import print_json
from bridge.cli.progress import TerminalProgress
from bridge.terminal import line

if TYPE_CHECKING:
    from bridge.pipeline.plan.options import Options


def part_option(command: Command) -> Command:
    """Add --part."""
    return click.option(
        "--part",
        metavar="I/N",
        help="Only collect part I of N of the activations, as one task of a job array; the same command without "
        "--part goes on from there.",
    )(command)


def collect_only(options: Options, part: str, as_json: bool, quiet: bool) -> None:
    """Collect a part, and print what is missing."""
    from bridge.collect.parts import Part
    from bridge.pipeline.jobs.part import collect_part

    result = collect_part(options, Part.parse(part), TerminalProgress(quiet), sys.stdin)
    if as_json:
        counts = {"shards": result.shards, "missing": list(result.missing), "store": str(result.store)}
        print_json({"part": result.part.number, "parts": result.part.count, **counts})
    else:
        line(str(result))
