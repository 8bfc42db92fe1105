"""Activations of the model itself, run in this process by its family's adapter, at every site."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from bridge.hookspecs import hookimpl
from bridge.models import Placement
from bridge.references import Site
from bridge.sources import ActivationBackend, ActivationSource, Checkpoint


@final
@dataclass(frozen=True)
class Transformers(ActivationBackend):
    """The model in this process."""

    name = "transformers"
    summary = "the model in this process, at every site"

    def identity(self, model: Checkpoint) -> Mapping[str, str]:
        """Return nothing: the version of transformers is recorded for every source.

        Args:
            model: The model.
        """
        return {}

    @contextmanager
    def open(self, model: Checkpoint, sites: Sequence[Site], placement: Placement) -> Iterator[ActivationSource]:
        """Load the model.

        Args:
            model: The model.
            sites: Any sites of the model.
            placement: Device and dtype.
        """
        yield model.adapter.load(model.weights, placement)


@hookimpl
def register_activation_sources(register: Callable[[type[ActivationBackend]], None]) -> None:
    """Offer the source `transformers`."""
    register(Transformers)
