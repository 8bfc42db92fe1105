"""The hooks that plugins implement: one per kind; each receives a `register` callback.

A plugin is a module named by an entry point of the group `bridge`, as `maps.ridge = "bridge_maps.ridge"`; it implements
one or more of these functions, decorated with `hookimpl`. `docs/HOOKS.md` is made from this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from bridge.dictionaries import DictionaryFormat
    from bridge.engines import Engine
    from bridge.maps import Map
    from bridge.models import Alias, ModelAdapter, NamedCorpus
    from bridge.readers import ReaderFormat
    from bridge.scorers import Scorer
    from bridge.sources import ActivationBackend
    from bridge.verbalizers import KnownReader, VerbalizerBackend

__all__ = [
    "API",
    "hookimpl",
    "register_activation_sources",
    "register_aliases",
    "register_dictionary_formats",
    "register_engines",
    "register_known_readers",
    "register_maps",
    "register_models",
    "register_reader_formats",
    "register_scorers",
    "register_verbalizers",
]

PROJECT = "bridge"

API = (1, 4)
"""Version of the plugin API, as (major, minor): a minor version adds to the API, a major version removes from it. A
plugin declares its API version with `bridge_api = "1.0"` in its module."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a plugin's function as one of these hooks."""


@hookspec
def register_models(register: Callable[[ModelAdapter], None]) -> None:
    """Offer model families: call `register` with an instance of each `bridge.models.ModelAdapter`.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_maps(register: Callable[[type[Map]], None]) -> None:
    """Offer map types: call `register` with each subclass of `bridge.maps.Map`; its fields are the map's options.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_verbalizers(register: Callable[[type[VerbalizerBackend]], None]) -> None:
    """Offer verbalizers: call `register` with each subclass of `bridge.verbalizers.VerbalizerBackend`.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_scorers(register: Callable[[Scorer], None]) -> None:
    """Offer scorers: call `register` with an instance of each `bridge.scorers.Scorer`.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_dictionary_formats(register: Callable[[DictionaryFormat], None]) -> None:
    """Offer dictionary formats: call `register` with an instance of each `bridge.dictionaries.DictionaryFormat`.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_reader_formats(register: Callable[[ReaderFormat], None]) -> None:
    """Offer reader formats: call `register` with an instance of each `bridge.readers.ReaderFormat`.

    Each becomes a verbalizer of the same name, with the options of `bridge.readers.ReaderBackend`.

    Args:
        register: Keeps what it is called with.
    """


@hookspec
def register_activation_sources(register: Callable[[type[ActivationBackend]], None]) -> None:
    """Offer sources of activations: call `register` with each subclass of `bridge.sources.ActivationBackend`.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_engines(register: Callable[[type[Engine]], None]) -> None:
    """Offer engines: call `register` with each subclass of `bridge.engines.Engine`.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_aliases(register: Callable[[Alias | NamedCorpus], None]) -> None:
    """Offer names of models and corpora: call `register` with each `bridge.models.Alias` and `NamedCorpus`.

    Args:
        register: Stores its argument.
    """


@hookspec
def register_known_readers(register: Callable[[KnownReader], None]) -> None:
    """Offer published readers of activations: call `register` with each `bridge.verbalizers.KnownReader`.

    Args:
        register: Keeps what it is called with.
    """
