"""Plugins by specification: `NAME:OPTION=VALUE,...`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from bridge.errors import UsageError
from bridge.maps import Map
from bridge.pipeline.plan.groups import MapOptions
from bridge.plugins.registry import Registry
from bridge.verbalizers import Washout

Kind = TypeVar("Kind")


def build(text: str, find: Callable[[str], type[Kind]]) -> Kind:
    """Make what `NAME:OPTION=VALUE,...` names: a map, or a kind of verbalizer.

    Args:
        text: The name, and options by the fields of its dataclass.
        find: Returns the dataclass of a name.

    Raises:
        UsageError: If there is no such name or option.
    """
    name, _, given_text = text.partition(":")
    kind = find(name)
    pairs = [item.partition("=") for item in given_text.split(",") if item]
    given = {key.strip(): value.strip() for key, _, value in pairs}
    known = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    unknown = set(given) - set(known)
    if unknown:
        raise UsageError(
            f"{name} has no option {', '.join(sorted(unknown))}.", remedy=f"It has {', '.join(known) or 'none'}."
        )
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        raise UsageError(f"{text} does not fit {name}: {describe_errors(error)}.") from error


def build_map(options: MapOptions, registry: Registry) -> Map:
    """Make the map that the options name, with its own options.

    Raises:
        UsageError: If there is no such map or option.
    """
    return build(options.spec, registry.map_type)


def build_washout(text: str) -> Washout:
    """Make the washout that `STRATEGY:OPTION=VALUE,...` names.

    Raises:
        UsageError: If there is no such strategy or option.
    """
    strategy, _, rest = text.partition(":")
    return build(f"washout:strategy={strategy}" + (f",{rest}" if rest else ""), lambda _: Washout)


def describe_errors(error: ValidationError) -> str:
    """Say in one line what pydantic found."""
    faults = ((item, "no such option" if item["type"] == "extra_forbidden" else item["msg"]) for item in error.errors())
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'value'}: {what}" for item, what in faults)
