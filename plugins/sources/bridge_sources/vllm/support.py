"""Which implementation of a model in vLLM gives hidden states: vLLM's own, or its backend for transformers."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import final

from pydantic import BaseModel, ConfigDict, ValidationError

from bridge.errors import BridgeError, UsageError
from bridge.files import cache_folder
from bridge.files.sealed import read_kept, write_kept
from bridge.sources import Checkpoint
from bridge_sources.vllm.environment import Environment, asked

SCRIPT = Path(__file__).with_name("there") / "ask.py"
OURS, TRANSFORMERS = "vllm", "transformers"
DECODER = "BridgeTextOfWrapper"
"""The architecture that `there/bridge_vllm_decoder.py` gives vLLM: the text decoder of a wrapper that reads images."""
WRAPPERS = ("Gemma3ForConditionalGeneration",)
"""Wrappers whose decoder alone was seen to equal transformers. Others may add to its inputs or its positions."""


@final
class Support(BaseModel):
    """What vLLM says of an architecture.

    Attributes:
        known: Whether vLLM has an implementation of its own.
        taps: Whether that implementation gives hidden states (`SupportsEagle3`).
        backend: The name of vLLM's backend for models of transformers; empty if it gives no hidden states.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    known: bool
    taps: bool
    backend: str


@final
@dataclass(frozen=True)
class Implementation:
    """How vLLM runs a model.

    Attributes:
        name: `vllm` or `transformers`.
        architecture: The architecture in `config.json`.
        backend: For `transformers`, the architecture that vLLM is told instead.
    """

    name: str
    architecture: str
    backend: str = ""

    def flags(self) -> list[str]:
        """Return the arguments of vLLM that choose the implementation."""
        # --model-impl would also apply to the draft model that holds the hidden states, which transformers lacks.
        return ["--hf-overrides", json.dumps({"architectures": [self.backend]})] if self.backend else []

    def sentence(self, version: str) -> str:
        """Say which implementation runs, and why."""
        what = f"the text decoder of {self.architecture}" if self.alone else self.architecture
        return (
            f"vLLM {version} runs {what} by its backend for transformers, because its own implementation "
            "gives no hidden states or was not asked for."
        )

    @property
    def alone(self) -> bool:
        """Whether the text decoder runs without its wrapper."""
        return self.backend == DECODER


def implementation_of(model: Checkpoint, where: Environment, asked_for: str) -> Implementation:
    """Return how vLLM runs a model and gives its hidden states.

    Args:
        model: The model.
        where: vLLM's environment.
        asked_for: `auto`, `vllm` or `transformers`.

    Raises:
        UsageError: If vLLM does not give the hidden states of the model.
    """
    architectures = model.weights.config.get("architectures")
    if not model.info.causal:
        raise UsageError(
            f"The source of activations vllm does not serve {model.name}: it is an encoder.",
            remedy="Use transformers, which serves every model.",
        )
    if not isinstance(architectures, list) or not architectures or not isinstance(architectures[0], str):
        raise UsageError(
            f"The source of activations vllm does not serve {model.name}: its config.json names no architecture.",
            remedy="Use transformers, which serves every model.",
        )
    architecture = architectures[0]
    found = _support(architecture, where)
    if found.taps and asked_for in ("auto", OURS):
        return Implementation(OURS, architecture)
    # Of a text model in a wrapper that reads images, the backend gives no hidden states (0.32.0).
    wrapped = "text_config" in model.weights.config
    # The names in a quantised checkpoint's settings are the wrapper's, and would choose no module of the decoder.
    alone = architecture in WRAPPERS and "quantization_config" not in model.weights.config
    if found.backend and (alone or not wrapped) and asked_for in ("auto", TRANSFORMERS):
        return Implementation(TRANSFORMERS, architecture, DECODER if wrapped else found.backend)
    what = "does not know" if not found.known else "gives no hidden states of"
    raise UsageError(
        f"vLLM {where.version} {what} {architecture}, the architecture of {model.name}"
        f"{f', with implementation={asked_for}' if asked_for != 'auto' else ''}.",
        remedy="Leave implementation out, or use transformers, which serves every model.",
    )


@functools.cache
def _support(architecture: str, where: Environment) -> Support:
    """Ask vLLM once for each version: importing it takes ten seconds."""
    question = {"architecture": architecture}
    key = json.dumps([question, where.version, where.transformers, where.torch, SCRIPT.read_text(encoding="utf-8")])
    kept = cache_folder() / "sources" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if (there := read_kept(kept, Support)) is not None:
        return there
    try:
        found = Support.model_validate(asked(where, SCRIPT, question))
    except ValidationError as error:
        raise UsageError(f"vLLM in the environment of {where.python} gave an answer of another form.") from error
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_kept(kept, found.model_dump())
    except (BridgeError, OSError):  # without a writable cache, vLLM is asked each time
        pass
    return found
