"""`bridge plugins`: list installed plugins and their health, and test the laws of their kind."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.options import output_options, print_json
from bridge.terminal import aside, line

if TYPE_CHECKING:
    from bridge.plugins.registry import Registry
    from bridge.testing.certify import Certificate

KINDS = (
    *("models", "maps", "verbalizers", "scorers", "dictionary_formats", "reader_formats", "activation_sources"),
    "engines",
)


@click.group("plugins", invoke_without_command=True)
@click.option("--kind", type=click.Choice(KINDS), help="Show this kind only.")
@output_options
@click.pass_context
def command(context: click.Context, kind: str | None, as_json: bool, quiet: bool) -> None:
    """List installed plugins: kind, name, distribution, version, health.

    A broken plugin is listed with its error and does not affect other plugins. BRIDGE_DISABLE_PLUGINS and
    BRIDGE_ONLY_PLUGINS select plugins (entry point names, separated by commas); BRIDGE_TRACE_PLUGINS=1 shows every
    hook call.
    """
    if context.invoked_subcommand:
        if kind or as_json or quiet:
            raise click.UsageError(f"Put options after {context.invoked_subcommand}.")
        return
    from bridge.plugins.discovery import discover

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
            line(f"{entry['entry_point']} of {entry['distribution']}: {entry['error']} {entry['remedy']}")


@command.command("check")
@click.argument("name", required=False, default="")
@click.option("--model", metavar="MODEL", help="A model on this machine: test its family's laws on its weights.")
@click.option(
    "--file", type=click.Path(exists=True, path_type=Path), help="A dictionary or reader, for testing its format."
)
@output_options
def check(name: str, model: str | None, file: Path | None, as_json: bool, quiet: bool) -> None:
    """Test a plugin against the laws of its kind; exits with 1 if a law fails, with 2 if no law could be tested.

    NAME is the registered name (ridge) or the entry point (maps.ridge). Maps and scorers are tested on synthetic rows,
    model families on tiny random weights, verbalizers on such a model: nothing is downloaded. Read-only dictionary
    formats, and reader formats without an example, need a --file. With --model, a family is tested on real weights, in
    float32 on the CPU; NAME is then optional.

    \b
    bridge plugins check ridge
    bridge plugins check --model smollm2-135m
    """
    import os

    # huggingface_hub reads this variable once, at import: certifying a plugin must not download a model.
    os.environ["HF_HUB_OFFLINE"] = "1"
    from bridge.plugins.discovery import discover
    from bridge.testing.certify import certify, certify_model

    if not name and not model:
        raise click.UsageError("Give the name of a plugin, or --model MODEL.")
    if model and file:
        raise click.UsageError("--file is for formats of dictionaries and readers, and --model for model families.")
    # Output of the plugin must not appear between the lines of the table.
    with aside():
        registry = discover()
        if model:
            family = next((item for kind, item in _named(registry, name) if kind == "models"), name) if name else ""
            certificates = [certify_model(registry, model, family)]
        else:
            certificates = [certify(registry, kind, item, file) for kind, item in _named(registry, name)]
    if as_json:
        print_json({"checked": [_record(certificate) for certificate in certificates]})
    else:
        for certificate in certificates:
            _print(certificate)
    broken = any(certificate.broken for certificate in certificates)
    sys.exit(1 if broken else 2 if all(certificate.skipped for certificate in certificates) else 0)


def _named(registry: Registry, name: str) -> list[tuple[str, str]]:
    """Return kind and name of every plugin with a name.

    Raises:
        PluginError: If the plugin could not be loaded.
        UsageError: If no plugin has the name.
    """
    from bridge.errors import PluginError, UsageError, did_you_mean

    items = {item: plugin for plugin in registry.plugins for item in plugin.provides}
    found = [item for item, plugin in items.items() if name in (item[1], plugin.name)]
    if found:
        return found
    for plugin in registry.plugins:
        if name == plugin.name:
            raise PluginError(f"{plugin.name} of {plugin.distribution} is broken: {plugin.error}", remedy=plugin.remedy)
    known = [item for _, item in items]
    raise UsageError(f"There is no plugin {name}.", remedy=did_you_mean(name, known))


def _record(certificate: Certificate) -> dict[str, Any]:
    return {
        "kind": certificate.kind,
        "name": certificate.name,
        "outcome": "skipped" if certificate.skipped else "broken" if certificate.broken else "ok",
        "reason": certificate.skipped,
        "laws": [
            {
                "law": verdict.law,
                "holds": not verdict.found,
                "tried": verdict.tried,
                "given": verdict.given,
                "found": verdict.found,
            }
            for verdict in certificate.verdicts
        ],
    }


def _print(certificate: Certificate) -> None:
    from bridge.report.table import print_rows
    from bridge.terminal import say

    title = f"{certificate.kind} {certificate.name}"
    if certificate.skipped:
        say(f"{title}: SKIPPED. {certificate.skipped}")
        return
    rows = [["BROKEN" if verdict.found else "ok", verdict.law, str(verdict.tried)] for verdict in certificate.verdicts]
    print_rows(("", "law", "held on"), rows, title)
    for verdict in certificate.broken:
        say(f"BROKEN: {verdict.law}. Given {verdict.given}: {verdict.found}.")
