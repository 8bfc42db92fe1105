"""Plugins of every kind that do something foul at a chosen moment, as source of packages of one module."""

from __future__ import annotations

DEEDS = {
    "Exception": "raise ValueError('a deed')",
    "BaseException": "raise type('Foul', (BaseException,), {})('a deed')",
    "SystemExit": "raise SystemExit(0)",
    "GeneratorExit": "raise GeneratorExit('a deed')",
    "KeyboardInterrupt": "raise KeyboardInterrupt('a deed')",
    "RecursionError": "def again(): again()\n    again()",
    "MemoryError": "raise MemoryError('a deed')",
}
"""Deeds that raise."""

DEATHS = {"os._exit": ("import os; os._exit(7)", 7), "segfault": ("import ctypes; ctypes.string_at(0)", -11)}
"""Deeds that end the process, with its exit code."""

PRINTED = "\x1b[2J\x1b]0;mine\x07"
"""What a plugin prints itself."""

LEFTOVERS = {
    "closed descriptors": "import os; os.close(1); os.close(2)",
    "closed streams": "import sys; sys.__stdout__.close(); sys.__stderr__.close()",
    "thread": "import threading, time; threading.Thread(target=lambda: time.sleep(600), name='lasting').start()",
    "exit function": "import atexit, time; atexit.register(lambda: time.sleep(600))",
    "folder": "import os; os.chdir('/')",
    "interrupts": "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "warnings": "import warnings; warnings.resetwarnings(); warnings.simplefilter('error')",
    "all warnings are errors": "import warnings; warnings.simplefilter('error')",
    "torch": "import torch; torch.set_default_dtype(torch.float64); torch.set_grad_enabled(False)",
    "escapes": f"print({PRINTED!r})",
}
"""Deeds after which the command goes on."""

MOMENTS = ("import", "registration", "construction", "work")

_HEAD = '''
"""A hostile plugin."""
from dataclasses import dataclass
from bridge.hookspecs import hookimpl


def _deed():
    {deed}


def strike(moment):
    if moment == {moment!r}:
        _deed()


strike("import")
'''

_KINDS = {
    "maps": """
from bridge_maps.ridge import Ridge
from bridge.maps import LinearMap


@dataclass(frozen=True)
class Hostile(LinearMap):
    name, summary = "hostile", "For this test."

    def __post_init__(self):
        strike("construction")

    def fit(self, data):
        strike("work")
        return Ridge().fit(data)
""",
    "scorers": """
from bridge.scorers import Need, Scorer


class Hostile(Scorer):
    name, summary, needs = "hostile", "For this test.", frozenset({Need.MAP})

    def __init__(self):
        strike("construction")

    def score(self, evidence):
        strike("work")
        for arm in evidence.arms:
            yield evidence.metric(self, "hostile", arm, 0.5, (0.4, 0.6), 7)
""",
    "verbalizers": """
from bridge.verbalizers import Explanation, Verbalizer, VerbalizerBackend


class Says(Verbalizer):
    def __init__(self, d_model):
        self.d_model = d_model

    def explain(self, vectors):
        strike("work")
        return [Explanation(f"text {i}") for i, _ in enumerate(vectors)]


@dataclass(frozen=True)
class Hostile(VerbalizerBackend):
    name, summary = "hostile", "For this test."

    def __post_init__(self):
        strike("construction")

    def open(self, subject):
        return Says(subject.d_model)
""",
    "dictionary_formats": """
from bridge.dictionaries import DictionaryFormat


class Hostile(DictionaryFormat):
    name, summary = "hostile", "For this test."

    def __init__(self):
        strike("construction")

    def recognises(self, path):
        strike("work")
        return False

    def load(self, path): ...
""",
    "reader_formats": """
from bridge.readers import ReaderFormat


class Hostile(ReaderFormat):
    name, summary = "hostile", "For this test."

    def __init__(self):
        strike("construction")

    def recognises(self, folder):
        strike("work")
        return False

    def describe(self, folder, reconstructor=None): ...
""",
    "models": """
from bridge.models import ModelAdapter


class Hostile(ModelAdapter):
    name = "hostile"

    def __init__(self):
        strike("construction")

    def claims(self, weights):
        strike("work")
        return False

    def describe(self, weights): ...
    def tokenizer(self, weights): ...
    def load(self, weights, placement): ...
    def write_tiny_checkpoints(self, folder): ...
""",
    "engines": """
from contextlib import contextmanager
from bridge.engines import Engine, in_turn


@dataclass(frozen=True)
class Hostile(Engine):
    name, summary = "hostile", "For this test."

    def __post_init__(self):
        strike("construction")

    @contextmanager
    def open(self, work, note):
        strike("work")
        with in_turn(work.here) as pool:
            yield pool
""",
    "activation_sources": """
from contextlib import contextmanager
from bridge.sources import ActivationBackend


@dataclass(frozen=True)
class Hostile(ActivationBackend):
    name, summary = "hostile", "For this test."

    def __post_init__(self):
        strike("construction")

    def identity(self, model):
        return {}

    @contextmanager
    def open(self, model, sites, placement):
        strike("work")
        yield model.adapter.load(model.weights, placement)
""",
    "aliases": """
from bridge.models import Alias
""",
    "known_readers": """
from bridge.verbalizers import KnownReader
""",
}

_GIVEN = {
    **dict.fromkeys(("maps", "verbalizers", "engines", "activation_sources"), "Hostile"),
    **dict.fromkeys(("scorers", "dictionary_formats", "reader_formats", "models"), "Hostile()"),
    "aliases": "Alias('hostile', 'user/repo')",
    "known_readers": "KnownReader('hostile', 'user/repo', ('resid_post.1',), 'nla:checkpoint=hub:user/other')",
}

HOOKS = tuple(_KINDS)
WORKING = tuple(kind for kind in HOOKS if kind not in ("aliases", "known_readers"))
"""Kinds that work after they registered; the others are data."""


METHODS = {
    "maps": ("Hostile.fit", "Hostile.fit_each"),
    "scorers": ("Hostile.score", "Hostile.sentences"),
    "verbalizers": ("Hostile.open", "Says.explain", "Says.notes"),
    "dictionary_formats": ("Hostile.recognises",),
    "reader_formats": ("Hostile.recognises",),
    "models": ("Hostile.claims", "Hostile.aliases"),
    "engines": ("Hostile.open",),
    "activation_sources": ("Hostile.open", "Hostile.identity", "Hostile.check"),
}
"""The methods of each kind that commands call."""

VALUES = (
    *("None", "-1", "10**400", "float('nan')", "'\\x1b[2J'", "[None]", "{}", "object()", "iter([1])"),
    *("__import__('numpy').full((2, 2), float('nan'))", "type('Odd', (), {'__bool__': lambda self: 1 / 0})()"),
)
"""What no method may return."""


def returning(kind: str, method: str, value: str) -> str:
    """Return the source of a plugin of a kind, one of whose methods returns a value."""
    whole, mark, hook = hostile(kind, "never", "pass").rpartition("@hookimpl")
    return f"{whole}{method} = lambda *given, **named: {value}\n\n\n{mark}{hook}"


def hostile(kind: str, moment: str, deed: str) -> str:
    """Return the source of a plugin of a kind that does a deed at a moment, and works otherwise."""
    hook = f"""
@hookimpl
def register_{kind}(register):
    strike("registration")
    register({_GIVEN[kind]})
"""
    return _HEAD.format(deed=deed, moment=moment) + _KINDS[kind] + hook
