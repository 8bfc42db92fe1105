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
    """Build the map or the kind of verbalizer that `NAME:OPTION=VALUE,...` names.

    Args:
        text: The name, and options, which are the fields of its dataclass.
        find: Returns the dataclass of a name.

    Raises:
        UsageError: If the name or an option is unknown.
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
        raise UsageError(f"The options in {text} are invalid: {describe_errors(error)}.") from error


def build_map(options: MapOptions, registry: Registry) -> Map:
    """Build the map type that the options name, with its own options.

    Raises:
        UsageError: If the map or an option is unknown.
    """
    return build(options.spec, registry.map_type)


def build_washout(text: str) -> Washout:
    """Build the washout that `STRATEGY:OPTION=VALUE,...` names.

    Raises:
        UsageError: If the strategy or an option is unknown.
    """
    strategy, _, rest = text.partition(":")
    return build(f"washout:strategy={strategy}" + (f",{rest}" if rest else ""), lambda _: Washout)


def describe_errors(error: ValidationError) -> str:
    """Return pydantic's errors as one line."""
    faults = ((item, "no such option" if item["type"] == "extra_forbidden" else item["msg"]) for item in error.errors())
    return "; ".join(f"{'.'.join(map(str, item['loc'])) or 'value'}: {what}" for item, what in faults)
