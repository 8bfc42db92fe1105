"""Flags shared by several commands."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bridge.cli.flags import Command, option_flags
from bridge.terminal import print_json, results_apart

__all__ = ["experiment_options", "output_options", "print_json", "read_given", "read_options"]

if TYPE_CHECKING:
    from bridge.pipeline.plan.options import Options

EXPERIMENT = (
    *("src", "dst", "map", "corpus", "max_documents", "max_tokens", "skip", "outlier_factor", "split", "held_out"),
    *("folds", "seed", "device", "dtype", "quantize", "batch_size", "engine", "allow_untrained"),
    *("src_activations", "dst_activations"),
)
"""The options of every command that runs two models."""


def experiment_options(command: Command) -> Command:
    """Add the arguments of commands that run two models: an experiment file, and flags that override the file."""
    file = click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
    return file(option_flags(*EXPERIMENT)(command))


def output_options(command: Command) -> Command:
    """Add --json, --quiet and --debug; with --json, standard output holds only the JSON document."""
    command = _keep_json_whole(command)  # type: ignore[assignment]
    command = click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks.")(command)
    command = click.option("--quiet", is_flag=True, help="Print nothing on standard error.")(command)
    return click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")(command)


def read_given(file: Path | None, flags: dict[str, Any]) -> dict[str, Any]:
    """Merge an experiment file with the flags, by name; flags override the file.

    Raises:
        UsageError: If a model is missing.
        CorruptArtifactError: If the file is from a result folder, and was changed there.
    """
    from bridge.errors import UsageError
    from bridge.pipeline.fit.record import need_bound
    from bridge.pipeline.plan.options import read_toml

    if file:
        need_bound(file)
    given = (read_toml(file) if file else {}) | {key: value for key, value in flags.items() if value is not None}
    if not {"src", "dst"} <= set(given):
        raise UsageError(
            "Two models are needed.",
            remedy="Use for example --src smollm2-135m@19 --dst gemma3-270m@12; `bridge models` lists names.",
        )
    return given


def read_options(file: Path | None, flags: dict[str, Any]) -> Options:
    """Merge an experiment file with the flags, as `read_given`, into options.

    Raises:
        UsageError: If a model is missing or an option is invalid.
    """
    from bridge.pipeline.plan.options import make_options

    return make_options(**read_given(file, flags))


def _keep_json_whole(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def wrapped(*args: Any, **flags: Any) -> Any:
        with results_apart() if flags.get("as_json") else contextlib.nullcontext():
            return command(*args, **flags)

    return wrapped
