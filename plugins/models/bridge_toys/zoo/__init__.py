"""The bundled models: transformers classes with a few hundred thousand weights, trained by tools/train_zoo.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bridge.hookspecs import hookimpl
from bridge.models import Alias, NamedCorpus

bridge_api = "1.2"

_HERE = Path(__file__).resolve().parent
STORIES = "stories"


def _folder(name: str) -> str:
    return str(_HERE / "checkpoints" / name)


@hookimpl
def register_aliases(register: Callable[[Alias | NamedCorpus], None]) -> None:
    """Register the bundled models, at the sites of their dictionaries and verbalizers, and their corpus of stories."""
    register(NamedCorpus(STORIES, str(_HERE / "stories.jsonl")))
    register(Alias("tiny-qwen", _folder("tiny-qwen"), site="0", corpus=STORIES))
    register(Alias("tiny-gemma", _folder("tiny-gemma"), site="2", corpus=STORIES))
    seeds = {f"seed{seed}": _folder(f"tiny-pythia-seed{seed}") for seed in (1, 2, 3)}
    register(Alias("tiny-pythia", seeds["seed1"], site="0", variants=seeds, corpus=STORIES))
