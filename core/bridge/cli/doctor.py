"""`bridge doctor`: check this machine."""

from __future__ import annotations

import sys

import click

from bridge.cli.options import output_options, print_json
from bridge.terminal import line


@click.command("doctor")
@click.option("--model", default="", metavar="MODEL", help="Load this model and check it, too.")
@output_options
def command(model: str, as_json: bool, quiet: bool) -> None:
    """Check libraries, devices, folders and plugins; exits with 1 if a check fails.

    With --model, the command loads a model, compares its outputs for eight fixed tokens with earlier outputs of the
    same weights, and prints its perplexity on a text of its training domain. A perplexity near the size of the
    vocabulary means that the weights are untrained or wrong.
    """
    from bridge.face.report import doctor

    checks = doctor(model)
    if as_json:
        print_json({"checks": [check.__dict__ for check in checks]})
    else:
        for check in checks:
            line(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
            if check.remedy:
                line(f"     {check.remedy}")
    sys.exit(0 if all(check.ok for check in checks) else 1)
