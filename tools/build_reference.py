"""Write docs/HOOKS.md, API.md and CLI.md, and core/bridge/keywords.py, from the code, so that they say nothing else."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click

import reference_api
from bridge import hookspecs
from bridge.cli import bridge as command_line
from bridge.dictionaries import Dictionary
from bridge.maps import FittedMap, Map
from bridge.pipeline.plan.options import WRITTEN, declared
from bridge.plugins import KINDS
from bridge.verbalizers import Verbalizer

DOCS = Path(__file__).resolve().parents[1] / "docs"

PUBLIC = (
    "bridge",
    *(f"bridge.{name}" for name in ("models", "maps", "verbalizers", "scorers", "dictionaries")),
    *(f"bridge.{name}" for name in ("hookspecs", "testing", "errors")),
    *(f"bridge.{name}" for name in ("metrics", "moments", "corpus", "pairing", "references", "directions")),
    *(f"bridge.{name}" for name in ("progress", "features", "files", "geometry", "reservoir")),
)
"""Modules whose `__all__` is the public surface."""

HOOKS = """# Hooks

Made from `core/bridge/hookspecs.py` by `tools/build_reference.py`; plugin API {api}.

A plugin is a module named by an entry point of the group `bridge`, `"KIND.NAME" = "module"`. It implements one or more
of these functions, decorated with `bridge.hookspecs.hookimpl`. The argument must be called `register`. A module may say
which API it was written for, as in `bridge_api = "{api}"`. A host of another major version refuses it, and so does one
of an earlier minor version; either says what to upgrade. A later minor version takes it.
"""

HOOK = """
## `{hook}`

    {signature}

{documentation}

What it takes: {how} of `{module}.{base}`. Try yours with `bridge plugins check NAME`, or
`bridge.testing.{check}`; start one with `bridge new-plugin {kind} NAME`.

Its laws:

{laws}
"""

ALIASES = """
## `register_aliases`

    {signature}

{documentation}

What it takes: instances of `bridge.models.Alias` and `bridge.models.NamedCorpus`. An alias's family is the one that
claims its weights. A name that another package brings is refused, and both are named. Call the module's entry point
`aliases.NAME`; a model family may offer aliases and corpora beside itself.
"""

CONTRACTS = {"maps": (FittedMap, Map), "verbalizers": (Verbalizer,), "dictionary_formats": (Dictionary,)}
"""Where the laws of a kind are written, if not in what is registered."""

API = """# Public names

Made from the `__all__` of each module by `tools/build_reference.py`. What is listed here keeps its meaning within a
minor version before 1.0, and within a major version from then on; anything else may change at any time. Plugins need
nothing else. Fields of metrics and of JSON results are public too.

Shapes are written as (rows, columns); `d_src` and `d_dst` are the widths of source and destination. `bridge.errors`
lists what is raised; every error says what happened, why, and what to do.
"""

KEYWORDS = '''\
"""The keywords of `bridge.fit`, `run`, `sweep`, `audit`, ...: made by tools/build_reference.py from options."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict


class Keywords(TypedDict, total=False):
    """Options of a run, by name; what is left out has its default.

    Keys:
{described}
    """

{fields}
'''

CLI = """# Command line

Made from the commands' own help by `tools/build_reference.py`. Every command has `--help`. Results go to standard
output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 a model is not available or
gated, 4 a score under what `--require` asks for, 130 interrupted.
"""


def hooks() -> str:
    """Return docs/HOOKS.md."""
    parts = [HOOKS.format(api=".".join(map(str, hookspecs.API)))]
    for kind, base in KINDS.items():
        hook = getattr(hookspecs, f"register_{kind}")
        parts.append(
            HOOK.format(
                hook=hook.__name__,
                signature=f"def {hook.__name__}{inspect.signature(hook)}".replace("'", ""),
                documentation=reference_api.Documented.of(hook).text,
                how="subclasses" if kind in ("maps", "verbalizers") else "instances",
                module=base.__module__.removesuffix(".contract").removesuffix(".adapter"),
                base=base.__name__,
                check=f"check_{kind.removesuffix('s')}",
                kind=kind,
                laws="\n".join(map(laws, CONTRACTS.get(kind, (base,)))),
            ).rstrip()
            + "\n"
        )
    hook = hookspecs.register_aliases
    signature = f"def {hook.__name__}{inspect.signature(hook)}".replace("'", "")
    return "".join([*parts, ALIASES.format(signature=signature, documentation=reference_api.Documented.of(hook).text)])


def laws(contract: type) -> str:
    """Return the laws in a contract's docstring, one a line."""
    said = (inspect.getdoc(contract) or "").partition("Laws, checked by ")[2].partition("\n\n")[0]
    head, *listed = re.split(r"\n\s*- ", said)
    sentences = [" ".join(law.split()) for law in listed or [head.partition(": ")[2]]]
    return "\n".join(f"- {law[:1].upper()}{law[1:]}" for law in sentences)


def api() -> str:
    """Return docs/API.md."""
    return API + "".join(reference_api.page(PUBLIC, escaped))


def cli() -> str:
    """Return docs/CLI.md."""
    return CLI + "".join(commands(click.Context(command_line, info_name="bridge", **command_line.context_settings)))


def commands(context: click.Context) -> Iterator[str]:
    """Describe a command, and then the commands under it."""
    command = context.command
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield f"\n## `{context.command_path}`\n\n    {usage}\n\n{prose(command.help or '')}\n"
    options = (option for option in command.get_params(context) if isinstance(option, click.Option))
    records = [option.get_help_record(context) for option in options if "--help" not in option.opts]
    if any(records):
        yield "\n| option | |\n| --- | --- |\n"
    yield from (
        "| `{}` | {} |\n".format(flags.replace("|", r"\|"), escaped(said)) for flags, said in filter(None, records)
    )
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from commands(click.Context(below, parent=context, info_name=name))


def prose(said: str) -> str:
    """Turn click's help text into Markdown: what it leaves as it is (`\\b`) is code."""
    paragraphs = (part.split("\n") for part in inspect.cleandoc(said).split("\n\n"))
    return "\n\n".join(
        "\n".join(f"    {line}" for line in lines[1:]) if lines[0] == "\b" else escaped("\n".join(lines))
        for lines in paragraphs
    )


def escaped(text: str) -> str:
    """Keep Markdown from seeing marks where the help has plain text."""
    return "".join(
        part if part[:1] == "`" else re.sub(r"[\\*_|<]", r"\\\g<0>", part) for part in re.split("(`[^`]*`)", text)
    )


def keywords() -> str:
    """Return core/bridge/keywords.py: every option but the two models, as typed keywords."""
    options = {name: field for name, (_, _, field) in declared().items() if name not in ("src", "dst")}
    lines = [
        f"        {name}: {field.description}" for name, field in ((n, options[n]) for n in WRITTEN if n in options)
    ]
    fields = [f"    {name}: {_written_type(options[name].annotation)}" for name in WRITTEN if name in options]
    return KEYWORDS.format(described="\n".join(_wrapped(line) for line in lines), fields="\n".join(fields))


def _written_type(kind: object) -> str:
    if kind is str:
        return "str | PathLike[str]"
    if kind == tuple[str, ...]:
        return "Sequence[str]"
    return inspect.formatannotation(kind).replace("typing.", "").replace("'", '"')


def _wrapped(line: str) -> str:
    return textwrap.fill(line, 120, initial_indent="", subsequent_indent=" " * 12, break_on_hyphens=False)


def main() -> None:
    """Write the pages, and the keywords."""
    for path, text in PAGES.items():
        path.write_text(text(), encoding="utf-8")
        print(path)


PAGES = {
    DOCS / "HOOKS.md": hooks,
    DOCS / "API.md": api,
    DOCS / "CLI.md": cli,
    DOCS.parent / "core" / "bridge" / "keywords.py": keywords,
}
"""What is made from the code, and how."""


if __name__ == "__main__":
    main()
