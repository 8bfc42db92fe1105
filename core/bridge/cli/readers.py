"""`bridge readers`: published readers of activations, what each needs, and whether it is here."""

from __future__ import annotations

import click

from bridge.cli.options import output_options, print_json


@click.command("readers")
@click.option("--model", metavar="MODEL", help="Those of one model only, as qwen3-8b or user/model.")
@output_options
def command(model: str | None, as_json: bool, quiet: bool) -> None:
    """List published readers of activations: models that read another model's activations and write what they mean.

    `bridge explain --via MODEL` takes one of them by itself where the model has no verbalizer of its own: of those that
    read its site, what is on this machine comes first, then what has a way back, then the smaller one. Those that
    answer questions are taken where --ask is given. Packages may add readers.

    \b
    bridge readers --model qwen3-8b
    bridge explain --src smollm2-135m@19 --via qwen2.5-7b --text "Paris is in"
    """
    from bridge.errors import UsageError
    from bridge.models.weights import models_folder
    from bridge.pipeline.plan.runtime import open_runtime
    from bridge.pipeline.verbalize.published import listing, readers_named

    registry = open_runtime().registry
    known = registry.known_readers
    readers = readers_named(model, registry) if model else [known[name] for name in sorted(known)]
    entries = listing(registry, readers)
    if as_json:
        print_json({"models_folder": str(models_folder()), "readers": entries})
        return
    if not entries:
        raise UsageError(
            f"No published reader of {model or 'any model'} is known.",
            remedy="Train one: bridge verbalizer train --model MODEL@SITE; or see `bridge readers` for other models.",
        )
    from bridge.report.table import print_rows

    columns = ("name", "model", "sites", "kind", "says", "way back", "GB", "needs", "here")
    rows = [
        [
            entry["name"],
            entry["model"],
            ", ".join(entry["sites"]),
            entry["kind"] if entry["installed"] else f"{entry['kind']} (not installed)",
            "answers" if entry["asks"] else "explanations",
            "yes" if entry["reconstructs"] else "no",
            f"{entry['gigabytes']:g}" if entry["gigabytes"] else "?",
            ", ".join([*entry["weights"], *([f"residual-bridge[{entry['extra']}]"] if entry["extra"] else [])]),
            "yes" if entry["here"] else f"no: {len(entry['missing'])} of {len(entry['weights'])} missing",
        ]
        for entry in entries
    ]
    print_rows(columns, rows, caption=f"Weights put by hand go into {models_folder()}/USER/REPOSITORY.")
