"""The command `bridge`: one file per command, loaded when it is called."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import sys
import traceback
from typing import final

import click

from bridge.at_work.ended import ended_at_work
from bridge.at_work.interrupts import INTERRUPTED, interrupts
from bridge.at_work.witness import witness
from bridge.cli.ending import end_within_grace, say_faults_of_threads
from bridge.errors import BridgeError
from bridge.terminal import complain, guarded

COMMANDS = (
    *("run", "rehearse", "fit", "sweep", "transfer", "audit", "steer", "explain", "verbalizer", "lens", "report"),
    *("models", "readers", "plugins", "new-plugin", "cache", "doctor"),
)


@final
class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"bridge.cli.{name.replace('-', '_')}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="residual-bridge", prog_name="bridge")
def bridge() -> None:
    """Fit a map between two language models' residual streams, and transfer interpretability tools through it.

    \b
    List models:        bridge models
    Bridge two models:  bridge run --src smollm2-135m@19 --dst gemma3-270m@12
    Compare layers:     bridge sweep --src 'smollm2-135m@*' --dst 'gemma3-270m@*'
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 1 failure, 2 usage, 3 model not available, 4 threshold unmet.

    Args:
        arguments: The arguments; default: those of the process, which then ends soon after the command has finished,
            whatever threads or exit functions of plugins still do.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    with contextlib.ExitStack() as leaving:
        leaving.enter_context(guarded())
        # The hub's client says at this level that it waits for another process that downloads the same file.
        logging.getLogger("huggingface_hub.utils._fixes").setLevel(logging.INFO)
        if arguments is None and "--debug" not in given:
            say_faults_of_threads()
        leaving.enter_context(interrupts().listening())
        for sentence in ended_at_work():
            complain(sentence)
        witness().begin(" ".join(["bridge", *given]))
        leaving.callback(witness().end)
        code = 1  # of an error that passes through
        if arguments is None:
            leaving.callback(lambda: end_within_grace(code))
        code = _exit_code(given)
    if code:
        sys.exit(code)


def _exit_code(given: list[str]) -> int:
    """Perform a command and return its exit code; with `--debug`, print the traceback of an error."""
    debug = "--debug" in given
    try:
        bridge.main([argument for argument in given if argument != "--debug"], standalone_mode=False)
    except click.ClickException as error:
        told = io.StringIO()
        error.show(told)
        complain(told.getvalue().rstrip("\n"))
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        plugin = _culprit(error.__cause__ or error)  # click turns an interrupt into an Abort
        complain(
            f"Interrupted{f' while the plugin {plugin} was at work' if plugin else ''}. "
            "Finished work is kept: the same command continues from there."
        )
        return INTERRUPTED
    except BrokenPipeError:
        return 0
    except BaseException as error:
        plugin = _culprit(error)
        if isinstance(error, SystemExit) and not plugin:
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        if debug:
            traceback.print_exc()
        else:
            complain(_told(error, plugin).replace("\n", " "))
        return error.exit_code if isinstance(error, BridgeError) else 1
    return 0


def _told(error: BaseException, plugin: str) -> str:
    if isinstance(error, BridgeError):
        return f"Error: {error}"
    return (
        f"Error: {type(error).__name__}: {error}. {_whose(plugin)} "
        "Run the command again with --debug, and report its output."
    )


def _culprit(error: BaseException) -> str:
    from bridge.plugins.isolation import culprit  # imports what `bridge --help` does not need

    return culprit(error)


def _whose(plugin: str) -> str:
    if not plugin:
        return "This is a bug in bridge or in a plugin."
    return f"The plugin {plugin} raised this error; BRIDGE_DISABLE_PLUGINS={plugin} disables the plugin."
