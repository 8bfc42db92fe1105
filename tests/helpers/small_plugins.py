"""Plugins of one module each, as source; the command in this process, and what it says of those that are installed."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from typing import Any

from bridge.cli import main

FIRST_PARTY = "residual-bridge"
Package = Callable[..., None]


def bridge(*arguments: object) -> tuple[int, str, str]:
    """Run the command in this process; return exit code, standard output and standard error."""
    out, err = io.StringIO(), io.StringIO()
    code: Any = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()


def plugins(*arguments: str) -> list[dict[str, Any]]:
    code, out, _ = bridge("plugins", "--json", *arguments)
    assert code == 0
    return list(json.loads(out)["plugins"])


def ours_are_whole(found: list[dict[str, Any]]) -> bool:
    ours = [plugin["health"] for plugin in found if plugin["distribution"] == FIRST_PARTY]
    return len(ours) >= 16 and set(ours) == {"ok"}


def a_map(name: str, body: str = "return super().fit(data)", fields: str = "") -> str:
    """Source of a plugin whose map is ridge, but for the body of its `fit`."""
    return f'''
"""A map called {name}."""
from dataclasses import dataclass
import numpy as np
from bridge.hookspecs import hookimpl
from bridge.maps import AffineMap, FittedMap, LinearMap


class Base(LinearMap):
    def fit(self, data):
        m = data.moments
        return AffineMap(np.linalg.pinv(m.xx) @ m.xy, m.mean_x, m.mean_y)


@dataclass(frozen=True)
class Mine(Base):
    name = "{name}"
    summary = "For this test."
    {fields}

    def fit(self, data):
        {body}


@hookimpl
def register_maps(register):
    register(Mine)
'''


A_SCORER = '''
"""Scorers."""
from bridge.hookspecs import hookimpl
from bridge.scorers import Need, Scorer


class Mine(Scorer):
    needs = frozenset({Need.MAP})
    summary = "For this test."

    def __init__(self, name, value):
        self.name, self.value = name, value

    def score(self, evidence):
        for arm in evidence.arms:
            value = self.value()
            yield evidence.metric(self, self.name, arm, value, (value - 1, value + 1), 7)


@hookimpl
def register_scorers(register):
    register(Mine("divides", lambda: 1 / 0))
    register(Mine("nan", lambda: float("nan")))
    register(Mine("text", lambda: "0.5"))
    register(Mine("sound", lambda: 0.5))
'''
