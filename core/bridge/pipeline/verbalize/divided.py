"""A model's verbalizer whose vectors an engine divides among workers, each with its own copy of the verbalizer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from bridge.collect.memory import forget_models
from bridge.engines import Pool
from bridge.files.temporaries import sweep_temporaries
from bridge.pipeline.plan.elsewhere import DistantModel, pool_of, work_of
from bridge.pipeline.plan.gather import artifacts_of
from bridge.pipeline.plan.runtime import Runtime
from bridge.pipeline.verbalize.cache import CachedVerbalizer, parts
from bridge.pipeline.verbalize.find import find_verbalizer
from bridge.pipeline.verbalize.subject import ModelSubject
from bridge.verbalizers import Blends, Explanation, Verbalizer, VerbalizerBackend

Floats = NDArray[np.float32]


@final
@dataclass(frozen=True)
class Call:
    """A call of a verbalizer's method.

    Attributes:
        method: The method; `about` asks what the verbalizer declares.
        arguments: Its arguments.
    """

    method: Literal["about", "explain", "explain_blends", "ask", "reconstruct"]
    arguments: tuple[Any, ...] = ()


@final
@dataclass(frozen=True)
class Answer:
    """What a call returned, and the verbalizer's notes after it."""

    value: Any
    notes: list[str]


@final
@dataclass(frozen=True)
class DistantVerbalizer:
    """Opens a model's verbalizer in another process.

    Attributes:
        model: The model, with its texts.
        named: The verbalizer, as `find_verbalizer` named it.
    """

    model: DistantModel
    named: str

    def __call__(self) -> AbstractContextManager[Callable[[Call], Answer]]:
        """Open the verbalizer, and return the function that answers calls."""
        plan, runtime = self.model.open()
        model, site = plan.side.model, plan.side.model.single_site()
        subject = ModelSubject(plan, artifacts_of(plan, [site], runtime)[site], runtime)
        _, kind = find_verbalizer(self.named, model, plan.side.identity, runtime.registry)
        return _answering(kind, self.named, subject)


@contextmanager
def opened(kind: VerbalizerBackend, named: str, subject: ModelSubject, runtime: Runtime) -> Iterator[DividedVerbalizer]:
    """Open a verbalizer, on the engine that its model's options name.

    Explanations are cached in the store, so that an interrupted run can continue.

    Args:
        kind: The verbalizer's kind with its options.
        named: Its name.
        subject: The model.
        runtime: Plugins, store and progress.

    Raises:
        BridgeError: As `VerbalizerBackend.open`.
        EngineError: If the engine has no workers.
    """
    models = subject.plan.models
    elsewhere = DistantVerbalizer(DistantModel.of(subject.plan, runtime), named)
    work = work_of(f"explain {subject.name}", lambda: _answering(kind, named, subject), elsewhere, models, runtime)
    with pool_of(work, models, runtime) as pool:
        yield DividedVerbalizer(pool)
    forget_models()  # two verbalizers of 7B and 27B parameters do not fit into memory together


@final
class DividedVerbalizer(Verbalizer):
    """Calls a verbalizer on the workers of a pool, with as many vectors at once as it declares.

    Args:
        pool: The workers, whose items are calls.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._advance: Callable[[int], None] = _nowhere
        self._notes: list[str] = []
        (about,) = self._answers([Call("about")])
        self.d_model, self.reconstructs, self.identity, self._at_once = about

    def explain(self, vectors: Floats) -> list[Explanation]:
        """Explain vectors, (n, d_model) float32."""
        return self._divided(len(vectors), 1, lambda part: Call("explain", (vectors[part],)))

    def explain_blends(self, blends: Blends) -> list[Explanation]:
        """Explain directions by their blends with backgrounds."""
        backgrounds = blends.vectors.shape[1]

        def call(part: slice) -> Call:
            return Call("explain_blends", (Blends(blends.vectors[part], blends.backgrounds, blends.beta),))

        return self._divided(len(blends.vectors), 2 * backgrounds if blends.beta else backgrounds, call)

    def ask(self, groups: Sequence[Floats], question: str) -> list[Explanation]:
        """Answer a question of groups of vectors, (n_i, d_model) float32 each."""
        return self._divided(len(groups), 1, lambda part: Call("ask", (groups[part], question)))

    def reconstruct(self, texts: Sequence[str]) -> Floats:
        """Return the activations that texts describe, (n, d_model) float32; one worker computes them."""
        (rows,) = self._answers([Call("reconstruct", (list(texts),))])
        return np.asarray(rows)

    def notes(self) -> list[str]:
        """Return the notes of all workers' copies so far."""
        return list(self._notes)

    @contextmanager
    def counted(self, advance: Callable[[int], None]) -> Iterator[None]:
        """Report the number of vectors of every finished call within the context."""
        self._advance = advance
        try:
            yield
        finally:
            self._advance = _nowhere

    def _divided(self, count: int, sequences: int, call: Callable[[slice], Call]) -> list[Explanation]:
        cuts = parts(count, self._at_once, sequences) if count else []
        sizes = [len(range(count)[part]) for part in cuts]
        return [one for some in self._answers([call(part) for part in cuts], sizes) for one in some]

    def _answers(self, calls: Sequence[Call], sizes: Sequence[int] = (0,)) -> list[Any]:
        """Return the value of every call, in the order of the calls."""
        found: dict[int, Any] = {}
        for index, answer in self._pool.run(calls):
            found[index] = answer.value
            self._notes = list(dict.fromkeys([*self._notes, *answer.notes]))
            self._advance(sizes[index])
        return [found[index] for index in range(len(calls))]


def _answering(
    kind: VerbalizerBackend, named: str, subject: ModelSubject
) -> AbstractContextManager[Callable[[Call], Answer]]:
    """Open a verbalizer, and return the function that answers calls."""
    sweep_temporaries(subject.store.root / "explanations")
    verbalizer = CachedVerbalizer(kind.open(subject), named, subject.store.root / "explanations")

    def answer(call: Call) -> Answer:
        if call.method == "about":
            about = verbalizer.d_model, verbalizer.reconstructs, verbalizer.identity, verbalizer.at_once
            return Answer(about, [])
        return Answer(getattr(verbalizer, call.method)(*call.arguments), verbalizer.notes())

    return nullcontext(answer)


def _nowhere(vectors: int) -> None:
    """Count nothing."""
