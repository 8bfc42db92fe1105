"""`bridge new-plugin`: write a plugin package with a working example."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from bridge.cli.options import output_options, print_json
from bridge.cli.plugins import KINDS
from bridge.terminal import line


@click.command("new-plugin")
@click.argument("kind", type=click.Choice(KINDS), metavar="KIND")
@click.argument("name")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the package (default bridge-NAME)."
)
@output_options
def command(kind: str, name: str, out: Path | None, as_json: bool, quiet: bool) -> None:
    """Write a plugin package of the given KIND, with a working example called NAME and a test of its laws.

    Kinds are models, maps, verbalizers, scorers, dictionary_formats, reader_formats, activation_sources and engines.

    \b
    bridge new-plugin maps my_map
    cd bridge-my-map && pip install -e '.[test]' && pytest && bridge plugins check my_map
    """
    from bridge.plugins.discovery import discover
    from bridge.scaffold import names_of, write_package

    registry = discover()
    taken = {item for plugin in registry.plugins for each, item in plugin.provides if each == kind}
    taken |= {plugin.name.partition(".")[2] for plugin in registry.plugins if plugin.kind == kind}
    names = names_of(kind, name, taken)
    folder = out or Path(names.distribution)
    files = write_package(names, folder)
    if as_json:
        found = {"folder": str(folder), "distribution": names.distribution, "module": names.module, "files": files}
        print_json(found | {"kind": kind, "name": names.name, "entry_point": names.entry_point})
        return
    line(f"{folder} holds the package {names.distribution} with the plugin {names.entry_point}. Test it:")
    install, check = "pip install -e '.[test]'", f"bridge plugins check {names.name}"
    for step in (f"cd {shlex.quote(str(folder))}", install, "pytest", check):
        line(f"    {step}")
