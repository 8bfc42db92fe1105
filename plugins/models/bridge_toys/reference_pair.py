"""The two real models of the project's measurements, at their measured layers (docs/RESULTS.md)."""

from __future__ import annotations

from collections.abc import Callable

from bridge.hookspecs import hookimpl
from bridge.models import Alias, NamedCorpus

bridge_api = "1.2"


@hookimpl
def register_aliases(register: Callable[[Alias | NamedCorpus], None]) -> None:
    """Register SmolLM2-135M-Instruct at block 19 and Gemma-3-270M at block 12."""
    register(Alias("smollm2-135m", "HuggingFaceTB/SmolLM2-135M-Instruct", site="19"))
    register(Alias("gemma3-270m", "google/gemma-3-270m", site="12"))
