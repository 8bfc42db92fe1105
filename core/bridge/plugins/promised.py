"""What the contracts promise that a plugin's methods return: classes of the core, contexts, sequences and mappings."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import final

CORE = "bridge"


@final
@dataclass(frozen=True)
class Promise:
    """The class of a value, and of its items (of a mapping: its values); None if the contract names no such class."""

    kind: type
    items: type | None

    def __str__(self) -> str:
        return self.kind.__name__ + (f" of {self.items.__name__}" if self.items else "")

    def holds(self, value: object) -> bool:
        """Tell whether a value is what was promised."""
        if not isinstance(value, self.kind) or (self.kind is Sequence and isinstance(value, str | bytes)):
            return False
        if self.items is None or not isinstance(value, Mapping | Sequence):
            return True
        return all(isinstance(one, self.items) for one in (value.values() if isinstance(value, Mapping) else value))


def contracts(kind: type) -> list[type]:
    """Return the classes of the core that a class derives from."""
    return [base for base in kind.__mro__ if str(base.__module__).partition(".")[0] == CORE]


def promised(kind: type, name: str) -> Promise | None:
    """Return what a method of a contract returns.

    Args:
        kind: The plugin's class.
        name: Name of the method.

    Returns:
        The promise; None if the contract says something else, such as a number, an array or nothing.
    """
    for base in contracts(kind):
        method = vars(base).get(name)
        function = getattr(method, "__func__", method)
        if not isinstance(function, types.FunctionType) or "return" not in function.__annotations__:
            continue
        holder = types.SimpleNamespace(__annotations__={"return": function.__annotations__["return"]})
        try:
            hint = typing.get_type_hints(holder, function.__globals__)["return"]
        except NameError:  # imported for type checkers only
            return None
        found, items = typing.get_origin(hint) or hint, (typing.get_args(hint) or (None,))[-1]
        if found in (Mapping, Sequence):
            return Promise(found, items if items is str or _is_ours(items) else None)
        return Promise(found, None) if found is AbstractContextManager or _is_ours(found) else None
    return None


def _is_ours(hint: object) -> bool:
    """Tell whether an annotation is a class of the core that values can be instances of."""
    named = isinstance(hint, type) and str(hint.__module__).partition(".")[0] == CORE
    return named and not getattr(hint, "_is_protocol", False)
