"""Conformance checks for plugins: the laws of each contract, tested on seeded synthetic input.

Our tests check every registered plugin. This test checks your installed plugin:

    from bridge.testing import conformance

    test_laws = conformance("maps", "my_map")

`bridge plugins check my_map` does the same on the command line. The check functions also accept objects that are not
installed, or that need special input: `check_map(MyMap)`. Each returns None, or raises `bridge.errors.ConformanceError`
with the law, the input and the deviation.
"""

from bridge.testing.activation_source import check_activation_source
from bridge.testing.conformance import conformance
from bridge.testing.dictionary_format import check_dictionary_format
from bridge.testing.engine import check_engine
from bridge.testing.map import check_map
from bridge.testing.model import check_model
from bridge.testing.reader_format import check_reader_format
from bridge.testing.scorer import check_scorer
from bridge.testing.synthetic_subject import TinySubject
from bridge.testing.verbalizer import check_verbalizer

__all__ = [
    "TinySubject",
    "check_activation_source",
    "check_dictionary_format",
    "check_engine",
    "check_map",
    "check_model",
    "check_reader_format",
    "check_scorer",
    "check_verbalizer",
    "conformance",
]
