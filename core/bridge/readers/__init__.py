"""The contract of reader formats: a format describes a reader of activations as data, and one engine runs it."""

from bridge.readers.adapters import read_adapter
from bridge.readers.backend import ReaderBackend, kind_of
from bridge.readers.contract import ReaderFormat, refuse_unknown
from bridge.readers.locate import halves
from bridge.readers.reader import (
    Adapter,
    Affine,
    Answer,
    Injection,
    Message,
    Prompt,
    Reader,
    Reconstruction,
    Sampling,
    VectorMap,
    Weights,
    Whitening,
)
from bridge.readers.stand_in import ReaderStandIn

__all__ = [
    "Adapter",
    "Affine",
    "Answer",
    "Injection",
    "Message",
    "Prompt",
    "Reader",
    "ReaderBackend",
    "ReaderFormat",
    "ReaderStandIn",
    "Reconstruction",
    "Sampling",
    "VectorMap",
    "Weights",
    "Whitening",
    "halves",
    "kind_of",
    "read_adapter",
    "refuse_unknown",
]
