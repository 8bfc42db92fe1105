"""The command `bridge`: one file per command, loaded when it is called."""

from __future__ import annotations

import importlib
import sys
from typing import final

import click

from bridge.errors import BridgeError, printable

COMMANDS = (
    *("run", "rehearse", "fit", "sweep", "transfer", "audit", "steer", "explain", "verbalizer", "lens", "report"),
    *("models", "readers", "plugins", "new-plugin", "doctor"),
)
INTERRUPTED = 130


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
    """Run the command line and exit: 0 ok, 1 failure, 2 usage, 3 model not available, 4 threshold unmet."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    try:
        bridge.main([argument for argument in given if argument != "--debug"], standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _say("Interrupted. Finished work is kept: the same command continues from there.")
        sys.exit(INTERRUPTED)
    except BridgeError as error:
        if debug:
            raise
        _say(f"Error: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.exit(0)
    except Exception as error:
        if debug:
            raise
        _say(
            f"Error: {type(error).__name__}: {error}. {_whose(error)} "
            "Run the command again with --debug, and report its output."
        )
        sys.exit(1)


def _whose(error: Exception) -> str:
    from bridge.plugins.isolation import culprit

    plugin = culprit(error)
    if not plugin:
        return "This is a bug in bridge or in a plugin."
    return f"The plugin {plugin} raised this error; BRIDGE_DISABLE_PLUGINS={plugin} disables the plugin."


def _say(text: str) -> None:
    click.echo(click.wrap_text(printable(text), 100), err=True)
