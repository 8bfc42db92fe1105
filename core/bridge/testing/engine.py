"""The laws of engines."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import final

from bridge.engines import Engine, Work
from bridge.errors import EngineError, ModelError
from bridge.testing.laws import Laws

Opener = Callable[[], AbstractContextManager[Callable[[int], int]]]
PACKAGE = "residual-bridge"
FAULT = ModelError("The item is negative.", cause="It was made so.", remedy="Give another one.")


@final
@dataclass(frozen=True)
class Squares:
    """Opens a worker that squares numbers, and refuses negative ones."""

    def __call__(self) -> AbstractContextManager[Callable[[int], int]]:
        """Return the function from a number to its square."""
        return nullcontext(_square)


def _square(item: int) -> int:
    if item < 0:
        raise FAULT
    return item * item


def check_engine(engine: Engine) -> None:
    """Test the laws of `bridge.engines.Engine` on workers that square numbers.

    Args:
        engine: An engine with its options.

    Raises:
        ConformanceError: If a law is broken.
        BridgeError: If the engine cannot be reached.
    """
    laws = Laws(f"The engine {engine.name}", "bridge.engines.Engine")
    with tempfile.TemporaryDirectory() as folder:
        work = _work(Path(folder))
        notes: list[str] = []
        with engine.open(work, notes.append) as pool:
            for items in ([3, 1, 2, 2], [], list(range(20))):
                found = sorted(pool.run(items))
                expected = [(index, item * item) for index, item in enumerate(items)]
                law = "every item is done once, and its result is that of `here`, in every run of a pool"
                laws.require(found == expected, law, f"items {items}", f"index and result are {found}")
        _check_error(laws, engine, work)
        _check_nodes(laws, engine, Path(folder))


def _work(folder: Path, here: Opener = Squares(), **versions: str) -> Work[int, int]:
    versions = versions or {PACKAGE: version(PACKAGE)}
    return Work("square numbers", here, Squares(), "cpu", versions, folder, {})


def _check_error(laws: Laws, engine: Engine, work: Work[int, int]) -> None:
    law = "the error of an item comes out as the item raised it, with its cause and remedy"
    try:
        with engine.open(work, lambda _: None) as pool:
            list(pool.run([1, -1, 2]))
    except ModelError as error:
        found = (error.what, error.cause, error.remedy)
        laws.require(found == (FAULT.what, FAULT.cause, FAULT.remedy), law, "a negative number", f"it says {found}")
    else:
        laws.require(False, law, "a negative number", "nothing is raised")
    with engine.open(work, lambda _: None) as pool:
        law = "an engine can be opened again after an error"
        laws.require(list(pool.run([5])) == [(0, 25)], law, "the item 5", "the result is another one")


def _check_nodes(laws: Laws, engine: Engine, folder: Path) -> None:
    law = "workers elsewhere with another version do nothing, and an EngineError names the package"
    opened: list[bool] = []

    def here() -> AbstractContextManager[Callable[[int], int]]:
        opened.append(True)
        return nullcontext(_square)

    try:
        with engine.open(_work(folder, here, **{PACKAGE: "0.0.0.dev1"}), lambda _: None) as pool:
            list(pool.run([1]))
    except EngineError as error:
        laws.require(PACKAGE in error.what, law, "another version", error.what)
    else:
        laws.require(bool(opened), law, "another version", "a worker in another process does the item")
