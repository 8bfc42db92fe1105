"""The flag --rehearse of the commands that run models."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NoReturn

import click

from bridge.cli.flags import Command as Flags
from bridge.cli.options import print_json
from bridge.cli.progress import TerminalProgress


def rehearse_option(command: Flags) -> Flags:
    """Add --rehearse, which the command passes on to `rehearse_only`."""
    text = "Only run on small random stand-ins, without a network: see bridge rehearse."
    return click.option("--rehearse", "rehearsed", is_flag=True, help=text)(command)


def rehearse_only(
    name: str, as_json: bool, quiet: bool, *args: Any, how: Mapping[str, Any] | None = None, **given: Any
) -> NoReturn:
    """Rehearse a command and print what was found; exit with 1 if anything would have failed.

    Args:
        name: Name of the Python function that does what the command does.
        as_json: Print the document.
        quiet: Show no progress.
        args: Arguments of the function.
        how: Further arguments of `bridge.rehearsal.rehearse`.
        given: Keywords of the function.
    """
    from bridge.rehearsable import COMMANDS
    from bridge.rehearsal import rehearse
    from bridge.report.rehearsal import print_rehearsal

    found = rehearse(COMMANDS[name](*args, **given), TerminalProgress(quiet), **how or {}).document()
    if as_json:
        print_json(found)
    else:
        print_rehearsal(found)
    sys.exit(1 if found["problems"] else 0)
