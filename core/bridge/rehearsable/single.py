"""Commands that run one model, as rehearsals see them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from bridge.errors import UsageError
from bridge.face.files import need_free
from bridge.pipeline.jobs.lens import fit_lens as fit
from bridge.pipeline.jobs.train_verbalizer import train_verbalizer as train
from bridge.pipeline.plan.options import make_options
from bridge.pipeline.verbalize.find import TRAINING_RECORD
from bridge.references import parse_reference
from bridge.rehearsal.command import Command, Performed, Surroundings
from bridge.verbalizers import LensRecipe, Recipe

STEPS, BATCH, PROMPTS, RANK = 2, 4, 2, 4
"""Of a rehearsed training or lens: each stage runs, and nothing is learnt."""


def train_verbalizer(
    model: str,
    *,
    verbalizer: str = "nla",
    out: str | Path | None = None,
    steps: int = 1500,
    batch: int = 16,
    rank: int = 32,
    lr: float = 1e-3,
    characters: int = 70,
    topics: bool = False,
    reconstructor: bool = True,
    inject: Any = "auto",
    **options: Any,
) -> Command:
    """Describe `bridge verbalizer train`, of a few steps."""
    dictionary = str(options.pop("dictionary", None) or "")
    given = make_options(src=model, **options)
    recipe = Recipe(steps, batch, rank, lr, characters, topics, None, reconstructor, inject)

    def perform(on: Surroundings) -> Performed:
        few = replace(recipe, steps=min(steps, STEPS), batch=min(batch, BATCH), rank=min(rank, RANK))
        train(on.options, verbalizer, few, on.dictionaries.get("src", ""), on.folder / "trained", on.progress)
        return Performed()

    return Command(
        given,
        perform,
        {"src": model},
        dictionaries={"src": dictionary} if dictionary else {},
        checks={"out": partial(_need_no_training, Path(out))} if out is not None else {},
        left_out=("the steps of the training, with their gradients",),
    )


def fit_lens(
    model: str,
    *,
    layers: str = "all",
    kind: str = "",
    out: str | Path | None = None,
    prompts: int = 100,
    part: str = "1/1",
    memory: float = 2.0,
    **options: Any,
) -> Command:
    """Describe `bridge lens fit`, of a few texts."""
    recipe = LensRecipe(layers=(0,), prompts=prompts, part=part, memory=memory)
    how = {"prompts": min(prompts, PROMPTS), "part": "1/1", "memory": memory}
    how |= {name: value for name in ("max_tokens", "skip") if (value := options.pop(name, None)) is not None}
    every = str(replace(parse_reference(model), site="*"))
    given = make_options(src=every, max_tokens=how.get("max_tokens", recipe.max_tokens), **options)

    def perform(on: Surroundings) -> Performed:
        fit(on.options, layers, how, kind, on.folder / "lens.safetensors", on.progress)
        return Performed()

    return Command(
        given,
        perform,
        {"src": every},
        checks={"out": partial(need_free, out)} if out is not None else {},
        left_out=("the gradients of the lens",),
    )


def _need_no_training(out: Path) -> None:
    if (out / TRAINING_RECORD).exists():
        raise UsageError(f"{out} already holds a trained verbalizer.", remedy="Choose another --out, or move it.")
