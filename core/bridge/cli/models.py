"""`bridge models`: list model names, their references, and local weights."""

from __future__ import annotations

import click

from bridge.cli.options import output_options, print_json


@click.command("models")
@output_options
def command(as_json: bool, quiet: bool) -> None:
    """List model names, their references, and whether their weights are on this machine.

    Any other model works too: a hub id (user/model@12), a folder (./model@12) or a GGUF file (model.gguf@12). Put your
    own names into aliases.toml in the configuration folder; they override the listed names. Plugins may add names.
    """
    from bridge.models.catalogue import catalogue
    from bridge.models.weights import models_folder
    from bridge.pipeline.plan.runtime import open_runtime

    registry = open_runtime().registry
    entries = catalogue(registry.models, registry.aliases)
    if as_json:
        print_json({"models_folder": str(models_folder()), "models": entries})
        return
    from bridge.report.table import print_rows

    columns = ("name", "site", "model", "family", "here", "variants")
    shown = {True: "yes", False: "no", None: "?"}
    rows = [[shown.get(entry[column], str(entry[column])) for column in columns] for entry in entries]
    print_rows(columns, rows, caption=f"Put weights from other sources into {models_folder()}/NAME.")
