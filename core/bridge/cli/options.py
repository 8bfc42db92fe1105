"""The flags that several commands share."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bridge.cli.output import keep_json_whole, results

if TYPE_CHECKING:
    from bridge.pipeline.plan.options import Options

Command = TypeVar("Command", bound=Callable[..., Any])

_EXPERIMENT = (
    click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)),
    click.option("--src", metavar="MODEL@LAYER", help="Source model, as smollm2-135m@19, user/model@66%, ./folder@12."),
    click.option("--dst", metavar="MODEL@LAYER", help="Destination model, written likewise."),
    click.option(
        "--map",
        metavar="MAP[:OPTION=VALUE,...]",
        help="Map type (default ridge), as procrustes:scaled=false.",
    ),
    click.option(
        "--corpus",
        metavar="SOURCE",
        help="Text: a file or folder, - for stdin, hub:user/dataset, or english (default, but for toys).",
    ),
    click.option("--max-documents", type=int, help="Use the first so many documents only."),
    click.option("--max-tokens", type=int, help="Cut texts after so many tokens (default 256)."),
    click.option("--skip", type=int, help="Leave out the first so many tokens of each text (default 8)."),
    click.option("--outlier-factor", type=float, help="Leave out rows of norm above so many medians (default 4)."),
    click.option(
        "--split",
        type=click.Choice(["random", "last"]),
        help="Which documents are held out (default random).",
    ),
    click.option("--held-out", type=float, help="Share of documents held out for the scores (default 0.2)."),
    click.option("--folds", type=int, help="Training folds for cross-validation (default 5)."),
    click.option("--seed", type=int, help="Of everything random (default 0)."),
    click.option("--device", metavar="DEVICE", help="cpu, cuda, cuda:N, mps, or auto (default)."),
    click.option("--dtype", metavar="DTYPE", help="bfloat16, float32, or auto (default): the faster one."),
    click.option("--batch-size", type=int, help="Texts per forward pass (default: as many as fit)."),
)


def experiment_options(command: Command) -> Command:
    """Add what every command that runs two models takes: an experiment file, and flags that override it."""
    for option in reversed(_EXPERIMENT):
        command = option(command)
    return command


def output_options(command: Command) -> Command:
    """Add --json, --quiet and --debug; with --json, standard output is for the document alone."""
    command = keep_json_whole(command)  # type: ignore[assignment]
    command = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")(command)
    command = click.option("--quiet", is_flag=True, help="Say nothing on standard error.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def read_options(file: Path | None, flags: dict[str, Any]) -> Options:
    """Merge an experiment file with the flags, which win.

    Raises:
        UsageError: If a model is missing or an option makes no sense.
    """
    from bridge.errors import UsageError
    from bridge.pipeline.plan.options import make_options, read_toml

    given = (read_toml(file) if file else {}) | {key: value for key, value in flags.items() if value is not None}
    if not {"src", "dst"} <= set(given):
        raise UsageError(
            "Two models are needed.",
            remedy="Write, for example, --src smollm2-135m@19 --dst gemma3-270m@12; `bridge models` lists names.",
        )
    return make_options(**given)


def print_json(value: Any) -> None:
    """Print one JSON document on standard output."""
    stream = results()
    json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
    stream.write("\n")


def need_free(out: Path | None) -> None:
    """Refuse a file that exists, before any work is done.

    Raises:
        UsageError: Naming it.
    """
    from bridge.errors import UsageError

    if out is not None and out.exists():
        raise UsageError(f"{out} already exists; nothing is overwritten.", remedy="Choose another --out.")


def write_result(out: Path | None, value: Any) -> None:
    """Write one JSON document, where a file was asked for.

    Raises:
        StoreError: If the disk is full or read-only.
    """
    from bridge.store import write_bytes

    if out is not None:
        write_bytes(out, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False).encode())
