"""Conformance checks for plugins: the laws of each contract, tried on seeded synthetic input.

Ours run over every registered plugin; this runs them over yours, as it is installed:

    from bridge.testing import conformance

    test_laws = conformance("maps", "my_map")

`bridge plugins check my_map` does the same on the command line. The checks themselves take what is not installed, or
needs something to be opened on: `check_map(MyMap)`. Each returns None, or raises `bridge.errors.ConformanceError` with
the law, the input and by how much it was broken.
"""

from bridge.testing.conformance import conformance
from bridge.testing.dictionary_format import check_dictionary_format
from bridge.testing.map import check_map
from bridge.testing.model import check_model
from bridge.testing.scorer import check_scorer
from bridge.testing.synthetic_subject import TinySubject
from bridge.testing.verbalizer import check_verbalizer

__all__ = [
    "TinySubject",
    "check_dictionary_format",
    "check_map",
    "check_model",
    "check_scorer",
    "check_verbalizer",
    "conformance",
]
