"""One way into plugins: every call that the core makes into a plugin of another distribution passes `Guard.calling`.

A plugin's class is guarded when the plugin registers it, and the class of what a guarded method returns (a fitted map,
a dictionary, a verbalizer, ...) when it is returned: each method of a contract that the plugin implements is replaced
on the plugin's class by one that passes the guard. A plugin's calls to itself pass it, too.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import AbstractContextManager
from typing import Any, final

from bridge.at_work.interrupts import asked_by_user
from bridge.at_work.surroundings import restored
from bridge.at_work.witness import plugin_at_work, witness
from bridge.errors import BridgeError, PluginError
from bridge.plugins.promised import CORE, Promise, contracts, promised

MARK = "_passes_bridge_guard"
SPECIAL = ("__call__", "__init__", "__post_init__", "__enter__", "__exit__")


@final
class Guard:
    """Guards the calls into one plugin.

    Args:
        who: The plugin, as `distribution:name`.
        trusted: Top-level packages whose classes are left as they are: the host's own plugins.
    """

    def __init__(self, who: str, trusted: Collection[str] = ()) -> None:
        self._who, self._trusted = who, frozenset({CORE, *trusted})

    @contextlib.contextmanager
    def calling(self, doing: str, *, restore: bool = True) -> Iterator[None]:
        """Call the plugin inside: it is named as being at work, and what it must not change is put back.

        Args:
            doing: What the plugin is asked to do.
            restore: Whether to put back all that the plugin changes, or the streams only: a context that it opens may
                last.

        Raises:
            PluginError: In place of anything raised that is not an `Exception`, unless the user interrupted. An
                `Exception` passes unchanged, because stages distinguish them; `bridge.plugins.isolation.culprit` knows
                whose it is.
        """
        inner = bool(plugin_at_work())
        back = contextlib.nullcontext() if inner else restored(streams_only=not restore)
        with back, witness().watching(self._who, doing):
            try:
                yield
            except Exception as error:
                self._tag(error)
                raise
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt) and asked_by_user():
                    self._tag(error)
                    raise
                raise PluginError(
                    f"The plugin {self._who} raised {type(error).__name__}: {error} (in {doing}).",
                    cause="A plugin must not end or interrupt the command.",
                    remedy=f"Report it to its authors; BRIDGE_DISABLE_PLUGINS={self._who} disables the plugin.",
                ) from error

    def _tag(self, error: BaseException) -> None:
        if not isinstance(error, BridgeError) and not hasattr(error, "raised_by_plugin"):
            with contextlib.suppress(AttributeError, TypeError):
                error.raised_by_plugin = self._who  # type: ignore[attr-defined]

    def guarded(self, value: Any) -> Any:
        """Guard the class of what a plugin gave, and return the value."""
        if isinstance(value, type):
            self._guard_class(value)
        elif isinstance(value, list | tuple):
            for one in value:
                self.guarded(one)
        elif isinstance(value, Generator):
            return self._stepwise(value, "its results")
        elif contracts(type(value)):
            self._guard_class(type(value))
        elif isinstance(value, AbstractContextManager):
            return _Context(self, value)
        return value

    def _is_ours(self, kind: type) -> bool:
        return str(kind.__module__).partition(".")[0] in self._trusted

    def _guard_class(self, kind: type) -> None:
        if self._is_ours(kind):
            return
        names = {name for base in contracts(kind) for name in vars(base) if not name.startswith("_")}
        for name in (*names, *SPECIAL):
            owner = next((base for base in kind.__mro__ if name in vars(base)), object)
            if not self._is_ours(owner) and owner is not object:
                with contextlib.suppress(AttributeError, TypeError):  # a class of C has no room for it
                    self._replace(kind, name, vars(owner)[name], promised(kind, name))

    def _replace(self, kind: type, name: str, found: Any, result: Promise | None) -> None:
        doing = f"{getattr(kind, 'name', '') or kind.__name__}.{name}"
        if isinstance(found, property):
            if found.fget and not hasattr(found.fget, MARK):
                setattr(
                    kind, name, property(self._passing(found.fget, doing, None), found.fset, found.fdel, found.__doc__)
                )
        elif isinstance(found, classmethod | staticmethod):
            if not hasattr(found.__func__, MARK):
                setattr(kind, name, type(found)(self._passing(found.__func__, doing, result)))
        elif inspect.isfunction(found) and not hasattr(found, MARK):
            setattr(kind, name, self._passing(found, doing, result))

    def _passing(self, function: Callable[..., Any], doing: str, result: Promise | None) -> Callable[..., Any]:
        @functools.wraps(function)
        def passing(*args: Any, **named: Any) -> Any:
            with self.calling(doing):
                given = function(*args, **named)
            if result is not None and not result.holds(given):
                raise PluginError(
                    f"The plugin {self._who} returned {type(given).__name__} from {doing}, not {result}.",
                    remedy=f"Report it to its authors; BRIDGE_DISABLE_PLUGINS={self._who} disables the plugin.",
                )
            if isinstance(given, Generator):
                return self._stepwise(given, doing)
            return self.guarded(given)

        setattr(passing, MARK, True)
        return passing

    def _stepwise(self, steps: Generator[Any, Any, Any], doing: str) -> Iterator[Any]:
        try:
            while True:
                with self.calling(doing):
                    try:
                        given = next(steps)
                    except StopIteration:
                        return
                yield self.guarded(given)
        finally:
            with self.calling(doing):
                steps.close()


@final
class _Context(AbstractContextManager[Any]):
    """A context that a plugin opens: entering and leaving pass the guard."""

    def __init__(self, guard: Guard, context: AbstractContextManager[Any]) -> None:
        self._guard, self._context = guard, context
        self._doing = f"the context {type(context).__name__}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def __enter__(self) -> Any:
        with self._guard.calling("opening", restore=False):
            given = self._context.__enter__()
        return self._guard.guarded(given)

    def __exit__(self, *error: Any) -> bool | None:
        with self._guard.calling("closing", restore=False):
            return self._context.__exit__(*error)
