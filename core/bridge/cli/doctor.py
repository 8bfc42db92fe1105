"""`bridge doctor`: whether this machine is ready."""

from __future__ import annotations

import sys

import click

from bridge.cli.options import output_options, print_json


@click.command("doctor")
@click.option("--model", default="", metavar="MODEL", help="Load this model and check it, too.")
@output_options
def command(model: str, as_json: bool, quiet: bool) -> None:
    """Check libraries, devices, folders and plugins; exits with 1 if something needs mending.

    With --model, a model is loaded: its outputs for eight fixed tokens are held to those that the same weights gave
    before, and its perplexity on a text that it should know is told. That of weights that are not a trained model, or
    not the ones you think, is near the size of the vocabulary.
    """
    from bridge.errors import printable
    from bridge.face.report import doctor

    checks = doctor(model)
    if as_json:
        print_json({"checks": [check.__dict__ for check in checks]})
    else:
        for check in checks:
            click.echo(printable(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}"))
            if check.remedy:
                click.echo(printable(f"     {check.remedy}"))
    sys.exit(0 if all(check.ok for check in checks) else 1)
