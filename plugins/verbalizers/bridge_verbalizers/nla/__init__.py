"""Natural-language autoencoders: checkpoints that read a vector and write what it means, and the way back."""

from __future__ import annotations

from collections.abc import Callable

from bridge.hookspecs import hookimpl
from bridge.readers import ReaderFormat, kind_of
from bridge_verbalizers.nla.format import NLAFormat

bridge_api = "1.3"

NLA = kind_of(NLAFormat())
"""The kind of verbalizer that runs NLA checkpoints."""


@hookimpl
def register_reader_formats(register: Callable[[ReaderFormat], None]) -> None:
    """Offer NLA checkpoints."""
    register(NLAFormat())
