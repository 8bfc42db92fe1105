"""Flags generated from option declarations, which hold the only copy of names, types, defaults and help texts."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Sequence
from pkgutil import resolve_name
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, final, get_args, get_origin, get_type_hints

import click

Command = TypeVar("Command", bound=Callable[..., Any])


@final
class OptionsCommand(click.Command):
    """A command that generates some flags when it is called or shows its help, so that listing commands is fast."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return all flags."""
        self.params = [flag for one in self.params for flag in (one() if isinstance(one, _Deferred) else [one])]
        return super().get_params(ctx)


@final
class _Deferred:
    def __init__(self, make: Callable[[], list[click.Parameter]]) -> None:
        self._make = make

    def __call__(self) -> list[click.Parameter]:
        return self._make()


def option_flags(*names: str, **described: str) -> Callable[[Command], Command]:
    """Add a flag for each named option of a run; a flag that is not given is None, and the option keeps its default.

    Args:
        names: Public names of the options: `max_documents` becomes `--max-documents`.
        described: Help texts of options that have a narrower meaning in a command.
    """

    def make() -> list[click.Parameter]:
        """Make the flags of the options."""
        from bridge.pipeline.plan.options import declared

        options = declared()
        flags: list[click.Parameter] = []
        for name in names:
            field = options[name][2]
            extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            text = described.get(name, field.description or "")
            default = None if field.is_required() else field.default
            flags.append(_flag(name, field.annotation, _help(text, default), metavar=extra.get("metavar")))
        return flags

    return _added(make)


def field_flags(kind: str, *names: str, **written: Sequence[str]) -> Callable[[Command], Command]:
    """Add a flag for each named field of a dataclass, with the field's default; its docstring has the help texts.

    Args:
        kind: The dataclass, as `package.module:Name`; `Attributes` in its docstring describes every field.
        names: Names of the fields.
        written: Flag names that differ from the field name, by field, as in `doses=("--dose", "doses")`.
    """

    def make() -> list[click.Parameter]:
        """Make the flags of the fields."""
        found = resolve_name(kind)
        hints, texts = get_type_hints(found), _attributes(found)
        defaults = {field.name: field.default for field in dataclasses.fields(found)}
        return [
            _flag(name, hints[name], _help(texts[name], defaults[name]), defaults[name], written.get(name, ()))
            for name in names
        ]

    return _added(make)


def _added(make: Callable[[], list[click.Parameter]]) -> Callable[[Command], Command]:
    def add(command: Command) -> Command:
        # click's own decorators store parameters in this attribute, in reverse order.
        flags = [*getattr(command, "__click_params__", []), _Deferred(make)]
        command.__click_params__ = flags  # type: ignore[attr-defined]
        return command

    return add


def _flag(
    name: str, kind: Any, text: str, default: Any = None, written: Sequence[str] = (), **more: Any
) -> click.Option:
    more = {key: value for key, value in more.items() if value is not None}
    written = written or (f"--{name.replace('_', '-')}", name)
    if get_origin(kind) in (Union, UnionType):
        kind = next(part for part in get_args(kind) if part is not NoneType)
    if kind is bool:
        # If the default is true, the flag needs a --no- form.
        switch = f"{written[0]}/--no-{written[0][2:]}" if default else written[0]
        return click.Option(
            [switch, written[-1]], is_flag=True, default=None if default is None else bool(default), help=text, **more
        )
    if get_origin(kind) is tuple:
        return click.Option(written, type=get_args(kind)[0], multiple=True, default=default or None, help=text, **more)
    if get_origin(kind) is Literal:
        kind = click.Choice(get_args(kind))
    return click.Option(written, type=kind, default=default, help=text, **more)


def _help(text: str, default: Any) -> str:
    if default in (None, "", ()) or isinstance(default, bool) or "(default" in text:
        return text
    values = default if isinstance(default, tuple) else (default,)
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    return f"{text.rstrip('.')} (default {shown})."


def _attributes(kind: type) -> dict[str, str]:
    """Return a docstring's description of every attribute, one line each."""
    section = (inspect.getdoc(kind) or "").partition("Attributes:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {8,}.*)*)", section, re.M)
    return {name: " ".join(text.split()) for name, text in found}
