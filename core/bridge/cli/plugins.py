"""`bridge plugins`: what is installed, and whether it works."""

from __future__ import annotations

import click

from bridge.cli.options import output_options, print_json

KINDS = ("models", "maps", "verbalizers", "scorers", "dictionary_formats")


@click.command("plugins")
@click.option("--kind", type=click.Choice(KINDS), help="Show this kind only.")
@output_options
def command(kind: str | None, as_json: bool, quiet: bool) -> None:
    """List installed plugins: kind, name, distribution, version, health.

    A broken plugin is named with its error and hurts no other. BRIDGE_DISABLE_PLUGINS and BRIDGE_ONLY_PLUGINS choose
    among them (entry point names, separated by commas); BRIDGE_TRACE_PLUGINS=1 shows every hook call.
    """
    from bridge.errors import printable
    from bridge.plugins import discover

    found = [
        {
            "kind": each_kind,
            "name": name,
            "entry_point": plugin.name,
            "distribution": plugin.distribution,
            "version": plugin.version,
            "summary": plugin.summary,
            "health": "broken" if plugin.error else "ok",
            "error": plugin.error,
            "remedy": plugin.remedy,
        }
        for plugin in discover().plugins
        for each_kind, name in plugin.provides or [(plugin.kind, "")]
        if kind in (None, each_kind)
    ]
    if as_json:
        print_json({"plugins": found})
        return
    from bridge.report.table import print_rows

    columns = ("kind", "name", "distribution", "version", "health", "summary")
    print_rows(columns, [[entry[column] for column in columns] for entry in found])
    for entry in found:
        if entry["error"]:
            line = f"{entry['entry_point']} of {entry['distribution']}: {entry['error']} {entry['remedy']}"
            click.echo(printable(line))
